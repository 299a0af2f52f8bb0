"""Ratios to a limit, measured in one run: `python -m tests.bench NAME`."""
