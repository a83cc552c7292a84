"""The handle on the server process: start it, tell it where to listen, stop it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.namespace import Namespace
    from tests.lab.run import Run


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket: host `who`, in the namespace at `netns`, on every address of a family."""

    who: str
    netns: str
    family: Family
    protocol: str
    port: int


def listeners(host: str, namespace: Namespace, protocols: Iterable[str], ports: Iterable[int]) -> list[Listener]:
    """Listeners of one host in both families, for every combination of protocol and port."""
    every = [(family, protocol, port) for family in FAMILIES for protocol in protocols for port in ports]
    return [Listener(host, str(namespace.path), *one) for one in every]


class Servers:
    """All answering servers of a lab, in one process. It ends when this process does, whatever the reason."""

    def __init__(self, run: Run) -> None:
        self._lock = threading.Lock()
        self._log = (run.directory / "servers.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        run.on_close(self.close)

    def listen(self, wanted: Iterable[Listener]) -> None:
        """Listen in addition to what is listened on already; returns when every socket is open.

        Raises RuntimeError with every listener that could not be opened.
        """
        answer = self._command({"listen": [asdict(one) for one in wanted]})
        if answer["errors"]:
            raise RuntimeError("servers: " + "; ".join(answer["errors"]))

    def stop(self, who: str) -> None:
        """Close every socket of one host, as if its server had died."""
        self._command({"close": {"who": who}})

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()
        self._log.close()

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the answering server has ended; its log is {self._log.name}")
        answer: dict[str, Any] = json.loads(line)
        return answer
