"""Settings that decide what a certificate may state."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from deploy.settings import Settings
from schemas.constants import DAY_S
from schemas.errors import ConfigurationError

NAME = "SEALPOST_BACKUP_KEPT_DAYS"


def test_how_long_backups_are_kept_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded instance makes none; nobody else may leave it open, and no number below 0 is taken."""
    monkeypatch.delenv(NAME, raising=False)
    assert Settings(embedded=True).backup_kept_s() == 0
    with pytest.raises(ConfigurationError, match=NAME):
        Settings(embedded=False).backup_kept_s()
    monkeypatch.setenv(NAME, "30")
    assert Settings(embedded=True).backup_kept_s() == Settings(embedded=False).backup_kept_s() == 30 * DAY_S
    for wrong in ("-1", "nan", "inf", "a month"):
        monkeypatch.setenv(NAME, wrong)
        with pytest.raises(ValidationError):
            Settings()


def test_role_streams_does_not_start_without_it() -> None:
    """It ends at once and names the setting, before it waits for any part."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALPOST_")}
    command = [sys.executable, "-m", "deploy.cli", "run", "streams"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1
    assert NAME in done.stderr
