"""`/metrics`, `/healthz` and `/readyz` of a role, on loopback unless told otherwise."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.metrics import gauge

READ_TIMEOUT_S = 5.0
VERSION = "0.1.0"


def start(role: str, host: str, port: int, ready: Callable[[], bool]) -> ThreadingHTTPServer:
    """Serve in a daemon thread; `ready` is asked on each `/readyz` (200 or 503) and sets `sealpost_role_ready`."""
    ready_gauge = gauge("sealpost_role_ready").labels(role)
    gauge("sealpost_build_info").labels(VERSION).set(1)

    class Handler(BaseHTTPRequestHandler):
        timeout = READ_TIMEOUT_S

        def do_GET(self) -> None:
            is_ready = ready()
            ready_gauge.set(1 if is_ready else 0)
            if self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
            elif self.path == "/healthz":
                self._answer(200, "text/plain; charset=utf-8", b"ok\n")
            elif self.path == "/readyz":
                self._answer(
                    200 if is_ready else 503,
                    "text/plain; charset=utf-8",
                    b"ready\n" if is_ready else b"not ready\n",
                )
            else:
                self._answer(404, "text/plain; charset=utf-8", b"try /metrics, /healthz or /readyz\n")

        def _answer(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Scrapes are not logged."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="role-server", daemon=True).start()
    return server
