"""Plain HTTPS to the API server from any thread, by sockets made in the control plane's namespace."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.lab.run import scaled

if TYPE_CHECKING:
    from tests.lab.namespace import Namespace

CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and decoded body; a body that is not JSON is `{"text": ...}`."""

    status: int
    body: dict[str, Any]

    def checked(self) -> dict[str, Any]:
        """The body of a success. RuntimeError with the server's words otherwise."""
        if not 200 <= self.status < 300:
            raise RuntimeError(f"the API server answered {self.status}: {self.body.get('message', self.body)}")
        return self.body


class Api:
    """One connection that is kept open, for one thread; `another()` is one more of the same."""

    def __init__(
        self,
        namespace: Namespace,
        address: tuple[str, int],
        context: ssl.SSLContext,
        token: str = "",
        timeout_s: float = 30.0,
    ) -> None:
        self._namespace = namespace
        self._address = address
        self._context = context
        self._token = token
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def another(self) -> Api:
        return Api(self._namespace, self._address, self._context, self._token, self._timeout_s)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """One request; a PATCH is a merge patch. OSError or HTTPException when there is no answer.

        A kept connection that the server has closed meanwhile is opened again, once.
        """
        all_headers = {"Content-Type": CONTENT_TYPES.get(method, "application/json"), "Accept": "application/json"}
        if self._token:
            all_headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body)
        kept = self._connection is not None
        try:
            return self._once(method, path, data, all_headers | (headers or {}))
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
            if not kept:
                raise
            return self._once(method, path, data, all_headers | (headers or {}))

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, body: object) -> Reply:
        return self.request("POST", path, body)

    def _once(self, method: str, path: str, data: str | None, headers: dict[str, str]) -> Reply:
        try:
            connection = self._connection = self._connection or self._open()
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        try:
            decoded = json.loads(text)
        except ValueError:
            decoded = None
        return Reply(answer.status, decoded if isinstance(decoded, dict) else {"text": text.decode(errors="replace")})

    def _open(self) -> http.client.HTTPConnection:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        sock = self._namespace.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(scaled(self._timeout_s))
            sock.connect(self._address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = http.client.HTTPConnection(*self._address)
            connection.sock = self._context.wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise
        return connection
