"""Decisions about persons: pure processors, their runner, and the feeds that bring them events."""
