"""Fixtures for all tests."""

import os

import pytest
from hypothesis import settings

pytest_plugins = ["tests.embedded_fixtures"]

settings.register_profile(
    "sealpost", deadline=None
)  # how long an example takes says nothing on a busy machine
settings.load_profile("sealpost")


def pytest_configure(config: pytest.Config) -> None:
    """Client libraries of brokers that a test has ended complain on standard error for as long as the process lives: in the
    parallel run that would bury the report. Within a test pytest captures it as ever."""
    if hasattr(config, "workerinput"):
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        os.close(silent)
