"""Instagram messaging. See README.md for the provider's pages, quirks and the date they were checked."""
