"""The sandbox page: a person's phone, the log and the business beside one another, on a running embedded instance."""
