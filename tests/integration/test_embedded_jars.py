"""A jar that is not the locked one is never used, whether it was kept or has just been fetched."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.embedded.jars import ChecksumMismatch, JarsUnavailable, read_lock, verified
from tests.embedded_host import ignore_progress

COORDINATE = "org.example:thing:1.0"
JAR_PATH = "/org/example/thing/1.0/thing-1.0.jar"
CONTENT = b"the jar that was reviewed" * 1000


@dataclass
class Repository:
    """A Maven repository on loopback that serves one jar, as told."""

    content: bytes = CONTENT
    cut_after: list[int | None] = field(default_factory=list)
    """For the next requests: close the connection after so many bytes; None = serve whole."""
    requests: int = 0
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Serve one request."""
        if handler.path != JAR_PATH:
            handler.send_error(404)
            return
        self.requests += 1
        cut = self.cut_after.pop(0) if self.cut_after else None
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        handler.wfile.write(self.content[:cut])


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository that jgo is told to ask first; the user's own Maven folder is empty."""
    served = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nnearby = {served.url}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock file that names one jar."""
    file = tmp_path / "lock"
    file.write_text(f"{sha256(CONTENT).hexdigest()}  {COORDINATE}\n")
    return file


def test_fetched_once_and_verified_each_time(repository: Repository, lock: Path, tmp_path: Path) -> None:
    """The second start asks no network; a jar that was changed since is refused by name."""
    (jar,) = verified(tmp_path / "cache", ignore_progress, lock)
    assert jar.read_bytes() == CONTENT
    assert verified(tmp_path / "cache", ignore_progress, lock) == [jar]
    assert repository.requests == 1
    jar.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ChecksumMismatch, match=COORDINATE):
        verified(tmp_path / "cache", ignore_progress, lock)


def test_a_wrong_jar_is_refused_and_not_kept(repository: Repository, lock: Path, tmp_path: Path) -> None:
    """What a repository serves under the right name is still not what was reviewed."""
    repository.content = b"another jar"
    with pytest.raises(ChecksumMismatch, match=COORDINATE):
        verified(tmp_path / "cache", ignore_progress, lock)
    assert list((tmp_path / "cache").rglob("*.jar")) == []
    repository.content = CONTENT
    assert len(verified(tmp_path / "cache", ignore_progress, lock)) == 1


def test_a_broken_connection_is_tried_again(repository: Repository, lock: Path, tmp_path: Path) -> None:
    """A jar that came in part is fetched anew."""
    repository.cut_after = [100, 0]
    assert len(verified(tmp_path / "cache", ignore_progress, lock)) == 1
    assert repository.requests == 3


def test_no_network_is_said_in_words(repository: Repository, lock: Path, tmp_path: Path) -> None:
    """After some tries the error names the jar; nothing half fetched is left."""
    repository.cut_after = [100] * 3
    with pytest.raises(JarsUnavailable, match=COORDINATE):
        verified(tmp_path / "cache", ignore_progress, lock)
    assert list((tmp_path / "cache").rglob("*.jar")) == []


def test_a_whole_jar_in_the_users_maven_folder_saves_the_way(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    """It is copied, not linked: the user may clean that folder. One that is not whole is passed over."""
    kept = tmp_path / "m2" / JAR_PATH[1:]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    verified(tmp_path / "cache", ignore_progress, lock)
    assert repository.requests == 0
    kept.write_bytes(CONTENT[:100])
    verified(tmp_path / "other-cache", ignore_progress, lock)
    assert repository.requests == 1


def test_the_lock_names_the_broker() -> None:
    """The committed lock holds Apache Kafka 4.4.0 and what it needs, each once."""
    jars = read_lock()
    names = [jar.coordinate for jar in jars]
    assert names[0] == "org.apache.kafka:kafka_2.13:4.4.0"
    assert len(set(names)) == len(names) > 40
    assert all(len(jar.sha256) == 64 for jar in jars)
