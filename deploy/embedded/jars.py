"""Apache Kafka's jars: fetched once with jgo, and never used unless each has the checksum that is locked in this repository.

The lock file names every jar, so a start needs no look at any project file of Maven: what is not in the lock is not
fetched. A jar is fetched into a folder of its own, verified, and only then moved to its place; a fetch that was cut short
leaves nothing that looks whole. All jars are hashed at every start: 50 MB take about 0.1 s, less than any
scheme that would have to be trusted instead.

`python -m deploy.embedded.jars` writes the lock anew, for a new version of Kafka.
"""

import fcntl
import os
import shutil
import ssl
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import requests
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver

from schemas.errors import SealpostError

KAFKA = "org.apache.kafka:kafka_2.13:4.4.0"
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
"""Without it the broker's warnings go nowhere; it needs no file of settings."""
LOCK = Path(__file__).with_name("kafka.sha256")
FETCHERS = 6
"""Jars fetched at a time."""
ATTEMPTS = 3
"""Tries a jar, before a broken connection becomes an error."""
PROGRESS_S = 2.0
"""Between two lines of progress; the promise to the user is 5 s."""
CA_VARIABLE = "REQUESTS_CA_BUNDLE"
MEBIBYTE = 1024 * 1024

Say = Callable[[str], None]


class JarsUnavailable(SealpostError):
    """Kafka's jars could not be fetched; the first start needs a network. Check it (and its proxy settings), start again."""


class ChecksumMismatch(SealpostError):
    """A jar is not the one locked in the repository; delete the file named in the message and start again. If it happens
    again, what is served is not what was reviewed: do not run it."""


@dataclass(frozen=True, slots=True)
class LockedJar:
    """One line of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def coordinate(self) -> str:
        """`group:artifact:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"

    def path(self, repository: Path) -> Path:
        """Where a folder laid out as Maven does keeps this jar."""
        folder = repository.joinpath(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"


def read_lock(lock: Path = LOCK) -> list[LockedJar]:
    """The locked jars, in the order of the class path."""
    jars = []
    for line in lock.read_text().splitlines():
        digest, coordinate = line.split()
        jars.append(LockedJar(digest, *coordinate.split(":")))
    return jars


def verified(cache: Path, say: Say, lock: Path = LOCK) -> list[Path]:
    """Paths of all locked jars, fetched where missing, each verified now.

    JarsUnavailable when one cannot be fetched, ChecksumMismatch when a kept or a fetched one is not the locked one.
    """
    jars, repository = read_lock(lock), cache / "maven"
    repository.mkdir(parents=True, exist_ok=True)
    with _one_fetcher(repository):
        missing = [jar for jar in jars if not jar.path(repository).exists()]
        if missing:
            _fetch_all(missing, repository, say)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda jar: _verify(jar, jar.path(repository)), jars))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _verify(jar: LockedJar, path: Path) -> Path:
    if sha256_of(path) != jar.sha256:
        raise ChecksumMismatch(f"{jar.coordinate}: the checksum of {path} is not the locked one")
    return path


@contextmanager
def _one_fetcher(repository: Path) -> Iterator[None]:
    """Two instances that start for the first time at the same time fetch once; the lock dies with its process."""
    with (repository / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Progress:
    """What came so far, counted from several threads."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes from the network."""
        self.arrived = 0
        """Jars in their place."""
        self._lock = threading.Lock()

    def jar_arrived(self) -> None:
        """One jar more is in its place."""
        with self._lock:
            self.arrived += 1

    @contextmanager
    def __call__(self, _filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        """What jgo's resolver wants: a context that yields a function to report bytes to."""

        def add(count: int) -> None:
            with self._lock:
                self.received += count

        yield add


def _fetch_all(missing: list[LockedJar], repository: Path, say: Say) -> None:
    for cut_short in repository.glob("incoming-*"):
        shutil.rmtree(cut_short, ignore_errors=True)
    say(f"Kafka: fetching {len(missing)} jars (50 MB in all, once)")
    incoming = Path(tempfile.mkdtemp(prefix="incoming-", dir=repository))
    progress = _Progress()
    pending = deque(missing)

    def work() -> None:
        while pending:
            try:
                jar = pending.popleft()
            except IndexError:
                return  # another worker was faster
            _fetch(jar, repository, incoming, progress)

    try:
        with _trusting_as_the_system_does():
            workers = {_in_background(work) for _ in range(min(FETCHERS, len(missing)))}
            while workers:
                done, workers = wait(workers, timeout=PROGRESS_S, return_when=FIRST_EXCEPTION)
                for worker in done:
                    worker.result()
                megabytes = progress.received / MEBIBYTE
                say(f"Kafka: {progress.arrived} of {len(missing)} jars, {megabytes:.0f} MB fetched")
    finally:
        pending.clear()
        shutil.rmtree(incoming, ignore_errors=True)


@contextmanager
def _trusting_as_the_system_does() -> Iterator[None]:
    """Let `requests`, which jgo uses, trust the certificates that the system trusts, as pip does.

    Otherwise, behind a proxy with an authority of its own, pip would work and this would not. What the user has set goes
    first.
    """
    paths = ssl.get_default_verify_paths()
    store = paths.cafile or paths.capath
    if not store or any(os.environ.get(name) for name in (CA_VARIABLE, "CURL_CA_BUNDLE")):
        yield
        return
    os.environ[CA_VARIABLE] = store
    try:
        yield
    finally:
        del os.environ[CA_VARIABLE]


def _in_background(work: Callable[[], None]) -> Future[None]:
    """Run in a daemon thread: neither an error nor Ctrl-C waits for a download that nobody wants any more."""
    end: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
            end.set_exception(error)
        else:
            end.set_result(None)

    threading.Thread(target=run, name="fetch jars", daemon=True).start()
    return end


def _fetch(jar: LockedJar, repository: Path, incoming: Path, progress: _Progress) -> None:
    home = jar.path(repository)
    home.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            arrived = _bring(jar, incoming / f"{jar.sha256}-{attempt}", progress)
        except (requests.RequestException, RuntimeError, OSError) as error:
            if attempt == ATTEMPTS:
                raise JarsUnavailable(f"{jar.coordinate}: {type(error).__name__}") from None
        else:
            _verify(jar, arrived).replace(home)
            progress.jar_arrived()
            return


def _bring(jar: LockedJar, folder: Path, progress: _Progress) -> Path:
    """The jar's file in `folder`: a copy of the one in the user's Maven repository if that is whole, else from the network."""
    folder.mkdir()
    kept = jar.path(GlobalSettings.load().repo_cache)
    if kept.exists() and sha256_of(kept) == jar.sha256:
        return Path(shutil.copyfile(kept, folder / kept.name))
    context = _maven(folder, PythonResolver(progress_callback=progress))
    return context.create_dependency(jar.coordinate).artifact.resolve()


def _maven(repo_cache: Path, resolver: PythonResolver | None = None) -> MavenContext:
    """jgo's context: the user's own repositories (a mirror, say) come before Maven Central."""
    remote = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(resolver=resolver, repo_cache=repo_cache, remote_repos=remote)


def write_lock(lock: Path = LOCK) -> int:
    """Resolve Kafka and everything it needs at run time, and lock what was fetched; the number of jars."""
    context = _maven(GlobalSettings.load().repo_cache)
    inputs, needed = context.resolver.resolve([context.create_dependency(one) for one in (KAFKA, LOGGER)])
    wanted = [*inputs, *(one for one in needed if one.scope in ("compile", "runtime"))]
    lines = []
    for one in wanted:
        digest = sha256_of(one.artifact.resolve())
        lines.append(f"{digest}  {one.groupId}:{one.artifactId}:{one.version}\n")
    lock.write_text("".join(lines))
    return len(lines)


if __name__ == "__main__":
    print(f"{write_lock()} jars locked in {LOCK.name}")
