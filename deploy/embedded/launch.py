"""Become another program that dies with the process which started it.

Run by path in an interpreter of its own, never imported: `launch.py PARENT SIGNAL UID GID ARGV…`. `subprocess`'s
`preexec_fn` would do the same inside the forked child, which is unsafe in a process with threads. Only the standard
library, because it runs with `-I -S` to start within some 20 ms.
"""

import ctypes
import os
import resource
import sys

PR_SET_PDEATHSIG = 1
KEEP_USER = -1


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent ends; leave at once if it has ended before that took effect.

    Other systems than Linux have no such call; a killed supervisor leaves its children there.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def become_user(uid: int, gid: int) -> None:
    """Give up root for good: groups first, because afterwards there is no right to change them."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def no_core_dumps() -> None:
    """This process, and all it starts, never writes its memory to a file: keys and clear text would outlive T2 there. Not
    PR_SET_DUMPABLE: it ends with the next exec, and hides /proc from whoever looks after the process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def launch(parent: int, death_signal: int, uid: int, gid: int, argv: list[str]) -> None:
    """Replace this process by `argv`; the order matters, changing the user clears the wish to die with the parent."""
    if uid != KEEP_USER:
        become_user(uid, gid)
    die_with_parent(parent, death_signal)
    no_core_dumps()
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
