"""The data folder belongs to one running instance at a time; the jar cache belongs to the user."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ConfigurationError

LOCK_FILE = "lock"
PRIVATE_FOLDER = 0o700


class DataFolderInUse(ConfigurationError):
    """Another Sealpost uses this data folder; stop it, or start with another --data folder."""


class DataFolderUnusable(ConfigurationError):
    """The data folder cannot be made or written; give another --data folder or correct its permissions."""


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Make the data folder (mode 0700) and hold it until the block ends; DataFolderInUse when somebody else does.

    The lock is the kernel's and dies with the process, so nothing has to be cleaned up after a kill -9.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataFolderUnusable(f"{data}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            raise DataFolderInUse(f"{data} is used by process {owner or 'unknown'}") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def is_held(data: Path) -> bool:
    """True while an instance runs in this folder."""
    try:
        lock = os.open(data / LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def cache_folder(data: Path) -> Path:
    """Where fetched jars are kept for all instances of this user; inside the data folder when there is no such place."""
    base = os.environ.get("XDG_CACHE_HOME")
    shared = (Path(base) if base else Path("~/.cache").expanduser()) / "sealpost"
    try:
        shared.mkdir(parents=True, exist_ok=True)
    except OSError:
        return data / "cache"
    return shared if os.access(shared, os.W_OK | os.X_OK) else data / "cache"
