"""The ledger of erasures: receipts collected, certificate asked for, what is overdue reported."""
