"""`make venv` changes its own environment only."""

import shutil
import subprocess
import sys
from pathlib import Path

from deploy import prepare


def test_an_environment_behind_a_link_is_not_touched(tmp_path: Path) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    (project / "deploy").mkdir(parents=True)
    (other / "bin").mkdir(parents=True)
    kept = other / "bin" / "kept"
    kept.touch()
    script = shutil.copy(prepare.__file__, project / "deploy")
    for needed in (prepare.LOCK, prepare.PROJECT):
        shutil.copy(needed, project)
    (project / ".venv").symlink_to(other)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", script], capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 1
    assert "Remove the link" in ended.stderr
    assert [*other.rglob("*")] == [kept.parent, kept]
