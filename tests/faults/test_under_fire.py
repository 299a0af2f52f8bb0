"""The short form of the run under fire: every role killed, ended and frozen while messages run both ways.

The long one, with production times and outages of minutes, is `make test-deep`.
"""

from pathlib import Path

import pytest

from tests.faults.deep import SHORT, run_kills


@pytest.mark.timeout(2_700)  # a run of three minutes on an idle machine; the machine of the tests is not idle
def test_under_fire(tmp_path: Path) -> None:
    """1,000 messages each way over 20 blows: everything has its end, nothing twice but what may, order and statuses right."""
    report = run_kills(tmp_path, SHORT)
    report.passed()
    assert report.blows.total() >= SHORT.strikes + SHORT.spells
    assert report.inward >= SHORT.messages
    assert report.outward >= SHORT.messages
