"""Serves one HTTP connection: one request, one answer, close."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

from kproxy.health.answer import NOT_FOUND, Answer

log = logging.getLogger(__name__)

Route = Callable[[], Answer]

# A body is of no use here, but closing a connection with unread bytes resets it, and the client might lose the answer.
BODY_READ_MAX = 64 * 1024
DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Site:
    """What a server answers: path -> route, and a route for every other path (without one: 404)."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    fallback: Route | None = None

    def answer(self, path: str) -> Answer:
        """Answer a request for a path; what follows a "?" is ignored."""
        route = self.routes.get(path.partition("?")[0], self.fallback)
        return NOT_FOUND if route is None else route()


def serve_connection(connection: socket.socket, peer: tuple[str, int], site: Site, *, timeout_s: float) -> None:
    """Read a request, answer it and return; the caller closes. A peer that breaks off or stays silent is no error.

    No read and no write waits longer than `timeout_s`.
    """
    connection.settimeout(timeout_s)
    try:
        _RequestHandler(connection, peer, site)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        log.debug("connection from %s: %s", peer, error)


class _RequestHandler(BaseHTTPRequestHandler):
    """Answers GET, HEAD and the other methods alike, as the routes of kube-proxy do."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # the base class's 0.9 answers without a status line
    server_version = "kproxy"
    sys_version = ""

    def __init__(self, connection: socket.socket, peer: tuple[str, int], site: Site) -> None:
        # The base class wants a socketserver, and needs it for nothing but what is set here.
        self.request = connection
        self.client_address = peer
        self.site = site
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    def do_GET(self) -> None:
        self._skip_body()
        try:
            answer = self.site.answer(self.path)
        except Exception:  # the task boundary: one request must not take the others' server with it
            log.exception("the answer to %s failed", self.path)
            answer = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error, see kproxy's log\n")
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        # One request per connection: an idle client then holds no thread, and probes connect anew anyway.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - the base class looks these names up

    def _skip_body(self) -> None:
        length = self.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            # A number of so many digits that Python would not read it is too large in any case.
            self.rfile.read(min(int(length[:DIGITS_MAX]), BODY_READ_MAX))

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        host, port = self.client_address[:2]
        log.debug("%s, port %s: %s", host.removeprefix("::ffff:"), port, format % args)
