"""One running instance for the acceptance tests that share it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance_instance import RunningInstance, running_instance
from tests.sandbox_page import running_browser


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """A running `sealpost up`, shared by the session."""
    with running_instance(tmp_path_factory.mktemp("instance")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module, whose tests open windows of their own; while it runs no other event loop can."""
    with running_browser() as running:
        yield running
