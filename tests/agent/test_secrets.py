"""What the agent says at its most talkative, of every way to log in: never a secret."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET, SOCK_STREAM
from typing import TYPE_CHECKING

import pytest

from tests.agent.one_node import FLAGS, OneNode, one_node
from tests.kube.test_secrets import CONTEXT, IN_BASE64, SECRET
from tests.lab import Agent
from tests.lab.agent import METRICS_PORT, eventually
from tests.lab.httpget import get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

PORT = 8001
CLUSTER = f"clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{PORT}'}}}}]\n"
API = "client.authentication.k8s.io/v1"
SCRIPT = f"""#!/bin/sh
echo '{{"apiVersion":"{API}","kind":"ExecCredential","status":{{"token":"{SECRET}"}}}}'
"""
#: Relative paths are those of files beside the kubeconfig.
USERS = {
    "a token": f"{{token: {SECRET}}}",
    "a token file": "{tokenFile: token}",
    "a password": f"{{username: u, password: {SECRET}}}",
    "a plugin": f"{{exec: {{apiVersion: {API}, command: ./plugin, interactiveMode: Never}}}}",
}


class Refuses(BaseHTTPRequestHandler):
    """An API server that lets nobody in."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.logins.add(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


class Server(HTTPServer):
    """It listens in the node's namespace, and notes the Authorization headers."""

    def __init__(self, node: OneNode) -> None:
        super().__init__(("127.0.0.1", PORT), Refuses, bind_and_activate=False)
        self.logins: set[str] = set()
        self.socket.close()
        self.socket = node.namespace.socket(AF_INET, SOCK_STREAM)
        self.server_bind()
        self.server_activate()


@contextmanager
def refusing(node: OneNode) -> Iterator[Server]:
    with Server(node) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
def test_nothing_that_the_agent_says(user: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET, encoding="ascii")
    script = tmp_path / "plugin"
    script.write_text(SCRIPT, encoding="ascii")
    script.chmod(0o755)
    config = tmp_path / "kubeconfig"
    config.write_text(f"{CONTEXT}{CLUSTER}users: [{{name: u, user: {user}}}]\n", encoding="ascii")
    with one_node() as node, refusing(node) as server:
        argv = [sys.executable, "-m", "kproxy", "run", "--kubeconfig", str(config), *FLAGS, "-v", "10"]
        with Agent(node.namespace, [*argv, "--logging-format", form], ("ipv4", "ipv6")) as agent:
            eventually(lambda: "trying again" in agent.log.read_text(), "it was not let in", 30)
            pages = [get(node.namespace, "127.0.0.1", METRICS_PORT, page).body for page in ("/configz", "/metrics")]
            said = [agent.log.read_text(), *pages]
    assert any(SECRET in header or IN_BASE64 in header for header in server.logins), "it did use the secret"
    for text in said:
        assert SECRET not in text
        assert IN_BASE64 not in text
