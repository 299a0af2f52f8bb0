"""As whom PostgreSQL runs. It refuses to run as root, so root has to lend it to another user who can reach its folder.

An ordinary user runs it as itself. Root runs it as the owner of the existing data, else as `postgres`, else as `nobody`:
through `setpriv`, with the one capability that lets it pass folders which only root may enter (our data folder, perhaps
/root above it), or, where `setpriv` is missing, only if every folder on the way is open for that user anyway.
"""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from schemas.errors import ConfigurationError

PASS_ONLY = 0o711
"""Others may pass through, not look; every secret and every folder inside is closed itself."""
PROBE_LIMIT_S = 10.0
USERS = ("postgres", "nobody")


class NoUserForPostgres(ConfigurationError):
    """PostgreSQL does not run as root, and no other user can reach its folder. Run Sealpost as an ordinary user, or put
    --data where every user may pass (below /var/lib, say), or install setpriv (package util-linux)."""


@dataclass(frozen=True, slots=True)
class Runner:
    """How PostgreSQL's programs are run."""

    owner: tuple[int, int] | None = None
    """(uid, gid) that must own the data; None = we do."""
    user: tuple[int, int] | None = None
    """(uid, gid) to change to before the program; None when `prefix` does it, or nobody has to."""
    prefix: tuple[str, ...] = ()
    """Goes before the program's argv."""
    words: str = ""
    """What to tell the person who started us; empty when there is nothing to tell."""


def runner(data: Path, home: Path, programs: Path, death_signal: Signals) -> Runner:
    """The runner for this process: `home` is PostgreSQL's folder in `data` (it may not exist yet), `programs` its bin.

    NoUserForPostgres when we are root and nobody else can do it.
    """
    if os.geteuid() != 0:
        return Runner()
    uid, gid, name = _lent_to(home)
    words = f"PostgreSQL: it does not run as root, so it runs as user {name}, who now owns {home}"
    for setpriv in filter(None, [shutil.which("setpriv")]):
        prefix = setpriv_prefix(setpriv, uid, gid, programs / "postgres", death_signal)
        if _works((*prefix, str(programs / "postgres"), "--version")):
            return Runner(owner=(uid, gid), prefix=prefix, words=words)
    data.chmod(PASS_ONLY)
    for wanted in (data, programs):
        closed = first_closed(wanted, uid, gid)
        if closed is not None:
            raise NoUserForPostgres(f"user {name} may not enter {closed}")
    return Runner(owner=(uid, gid), user=(uid, gid), words=words)


def setpriv_prefix(setpriv: str, uid: int, gid: int, program: Path, death_signal: Signals) -> tuple[str, ...]:
    """The call of setpriv that becomes the user, keeps the right to pass closed folders, and still dies with us."""
    rights = ["+dac_read_search"]
    if not _bit(program, uid, gid, stat.S_IXOTH):
        rights.append("+dac_override")  # installed under umask 077: not even the program itself is open
    wanted = ",".join(rights)
    change = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    return (
        setpriv,
        *change,
        f"--inh-caps={wanted}",
        f"--ambient-caps={wanted}",
        "--pdeathsig",
        death_signal.name[3:],
    )


def first_closed(folder: Path, uid: int, gid: int) -> Path | None:
    """The outermost folder on the way to `folder`, itself included, that the user may not enter; None when all are open."""
    way = [*reversed(folder.resolve().parents), folder.resolve()]
    return next((step for step in way if not _bit(step, uid, gid, stat.S_IXOTH)), None)


def _lent_to(home: Path) -> tuple[int, int, str]:
    if home.exists() and home.stat().st_uid != 0:
        owner = home.stat()
        return owner.st_uid, owner.st_gid, _name(owner.st_uid)
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid, name
    raise NoUserForPostgres(f"there is no user named {' or '.join(USERS)}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _bit(path: Path, uid: int, gid: int, bit: int) -> bool:
    """Whether the permission (given as its bit for others) is the user's, by owner, group or others in this order."""
    status = path.stat()
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return bool(status.st_mode & bit << shift)


def _works(argv: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=PROBE_LIMIT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
