"""What Messenger and Instagram share: one envelope of webhooks, one Send API, one table of errors, one simulator."""
