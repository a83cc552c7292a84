"""`kproxy dns` as a process in a namespace of its own, and a client of it."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dns.message
import dns.query
import dns.rcode

from tests.lab import Namespace, Run, scaled
from tests.lab.agent import eventually
from tests.lab.httpget import Response, get
from tests.lab.manifests import ManifestDirectory, Object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dns.server.world import World

ADDRESS, ADDRESS6 = "169.254.20.10", "fd00:20::10"
WORLD = "192.0.2.53"
Transport = Literal["udp", "tcp"]


class Node:
    """A namespace with the server's addresses on its loopback, and a directory of manifests."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.namespace = Namespace(run, "node")
        self.namespace.run("ip", "link", "set", "lo", "up")
        for address in (f"{ADDRESS}/32", f"{ADDRESS6}/128", f"{WORLD}/32"):
            self.namespace.run("ip", "address", "add", address, "dev", "lo")
        directory = run.directory / "manifests"
        directory.mkdir()
        self.manifests = ManifestDirectory(directory)

    def server(self, *arguments: str, metrics_port: int = 9153, upstream: World | str = "192.0.2.99") -> DnsProcess:
        """The server, to be started; on `ADDRESS` and `ADDRESS6`, unless the arguments name others.

        `upstream` "": the node's resolv.conf says whom to ask.
        """
        words = [*arguments]
        if "--dns-bind-address" not in words:
            words += ["--dns-bind-address", f"{ADDRESS}:53,[{ADDRESS6}]:53"]
        if "--master" not in words:
            words += ["--manifests", str(self.manifests.path)]
        if upstream:
            words += ["--dns-upstream", upstream if isinstance(upstream, str) else upstream.address]
        return DnsProcess(
            self.namespace, [*words, "--dns-metrics-bind-address", f"127.0.0.1:{metrics_port}"], metrics_port
        )

    def ask(
        self,
        name: str,
        qtype: str = "A",
        *,
        over: Transport = "udp",
        to: str = ADDRESS,
        edns: int | None = 1232,
        timeout_s: float = 10.0,
    ) -> dns.message.Message:
        """Ask one question and return the reply, whose id and question fit."""
        options = {} if edns is None else {"use_edns": 0, "payload": edns}
        query = dns.message.make_query(name, qtype, **options)  # type: ignore[arg-type]
        send = dns.query.udp if over == "udp" else dns.query.tcp
        return self.namespace.call(lambda: send(query, to, timeout=scaled(timeout_s)))

    def rcode(self, name: str, qtype: str = "A", **options: object) -> str:
        return dns.rcode.to_text(self.ask(name, qtype, **options).rcode())  # type: ignore[arg-type]

    def ips(self, name: str, qtype: str = "A", **options: object) -> list[str]:
        """The addresses that a name has, sorted."""
        reply = self.ask(name, qtype, **options)  # type: ignore[arg-type]
        return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)

    def connect(self, to: str = ADDRESS) -> socket.socket:
        """A TCP connection to the server."""
        sock = self.namespace.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(scaled(10))
        sock.connect((to, 53))
        return sock


class DnsProcess:
    """The process; its standard error goes to `log`."""

    number = 0

    def __init__(self, namespace: Namespace, arguments: list[str], metrics_port: int) -> None:
        DnsProcess.number += 1
        self.namespace = namespace
        self.argv = [sys.executable, "-m", "kproxy", "dns", *arguments]
        self.log = namespace.run_of.directory / f"dns-{DnsProcess.number}.log"
        self._metrics_port = metrics_port
        self._process: subprocess.Popen[bytes] | None = None
        namespace.run_of.on_close(self.kill)

    def __enter__(self) -> DnsProcess:
        self.start()
        self.wait_ready()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self.namespace.popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        eventually(lambda: self.get("/ready") == 200, "DNS is ready", 20)

    def wait(self) -> int:
        """Wait for the end that comes by itself."""
        assert self._process is not None
        return self._process.wait(scaled(20))

    def stop(self) -> int:
        """End it with SIGTERM."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        return self._end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        return children(self.pid)

    def page(self, path: str) -> Response | None:
        """GET a page of its HTTP server; None as long as there is nobody."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise RuntimeError(f"kproxy dns ended with code {code}:\n{self.said()}")
        try:
            return get(self.namespace, "127.0.0.1", self._metrics_port, path)
        except (OSError, http.client.HTTPException):
            return None

    def get(self, path: str) -> int:
        """The status of a page, 0 as long as there is nobody."""
        page = self.page(path)
        return page.status if page else 0

    def metric(self, series: str) -> float | None:
        """One sample, by its name and labels as they are written."""
        page = self.page("/metrics")
        assert page is not None
        values = [line.rpartition(" ")[2] for line in page.body.splitlines() if line.startswith(series + " ")]
        return float(values[0]) if values else None

    def said(self) -> str:
        return self.log.read_text()

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(scaled(20))
        self._process = None
        return code


def children(pid: int) -> list[int]:
    """The processes that a process has started; not every kernel has /proc/PID/task/TID/children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # PID (COMMAND) STATE PPID ...; a command may contain anything.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def dns_node() -> Iterator[Node]:
    with Run() as run:
        yield Node(run)


def headless(name: str, *endpoints: str, namespace: str = "shop") -> list[Object]:
    """A headless Service with ready endpoints: "10.0.0.1" or "10.0.0.1=hostname"."""
    metadata = {"name": name, "namespace": namespace}
    parts = [text.partition("=") for text in endpoints]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": "None", "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": [ip], "conditions": {"ready": True}, **({"hostname": host} if host else {})}
                for ip, _, host in parts
            ],
        },
    ]
