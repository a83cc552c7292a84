"""etcd: its command line, and the requests that only it answers (by its HTTP gateway, so no etcdctl is needed)."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

from tests.lab.run import scaled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.namespace import Namespace

CLIENTS, PEERS = 2379, 2380
URL = f"http://127.0.0.1:{CLIENTS}"


def etcd_argv(program: Path, directory: Path) -> list[str | Path]:
    """A single member that keeps its data in `directory` and does not wait for the disk. Any etcd from 3.4 on."""
    peers = f"http://127.0.0.1:{PEERS}"
    return [
        *(program, "--data-dir", directory, "--unsafe-no-fsync", "--listen-client-urls", URL),
        *("--advertise-client-urls", URL, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"default={peers}", "--log-level", "warn", "--logger", "zap"),
    ]


def compact(namespace: Namespace) -> int:
    """Forget all history up to now (`etcdctl compact --physical REVISION`); returns the revision."""
    revision = int(_post(namespace, "/v3/kv/range", {"key": "AA==", "limit": "1"})["header"]["revision"])
    _post(namespace, "/v3/kv/compaction", {"revision": str(revision), "physical": True})
    return revision


def _post(namespace: Namespace, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", CLIENTS)
    with namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(scaled(10))
        sock.connect(("127.0.0.1", CLIENTS))
        connection.sock = sock
        connection.request("POST", path, json.dumps(body), {"Connection": "close"})
        answer = connection.getresponse()
        said: dict[str, Any] = json.loads(answer.read())
    if answer.status != 200:
        raise RuntimeError(f"etcd answered {answer.status} to {path}: {said}")
    return said
