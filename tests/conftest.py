"""Fixtures for all tests."""

pytest_plugins = ["tests.embedded_fixtures"]
