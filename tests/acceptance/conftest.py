"""One running instance for the acceptance tests that share it."""

from collections.abc import Iterator

import pytest

from tests.acceptance_instance import RunningInstance, running_instance


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """A running `sealpost up`, shared by the session."""
    with running_instance(tmp_path_factory.mktemp("instance")) as running:
        yield running
