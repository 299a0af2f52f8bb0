"""Apple Messages for Business."""
