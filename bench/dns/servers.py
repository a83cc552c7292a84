"""The two servers, each held to one core: kproxy's, and the real CoreDNS with the Corefile that clusters have."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query

from tests.dns.server.running import children
from tests.lab.agent import eventually
from tests.lab.httpget import get

if TYPE_CHECKING:
    import subprocess

    from tests.lab import Namespace

SERVER_CORE, CLIENT_CORE = "0", "1"
FIRST = ("chrt", "--rr", "1")
"""Before all else that runs on the machine, which would otherwise be measured too."""

COREFILE = """\
.:53 {{
    bind {address}
    errors
    health {address}:8080
    ready {address}:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus {address}:9153
    forward . {upstream} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loop
    loadbalance
}}
"""
"""kubeadm's, with addresses; `reload` is left out, as its file does not change."""


class Server:
    """A server as a process on a core of its own."""

    def __init__(self, name: str, namespace: Namespace, address: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        self.address = address
        self._namespace = namespace
        self._argv = [*FIRST, "taskset", "-c", SERVER_CORE, *argv]
        self._env = {**namespace.run_of.env, **env}
        self._log = namespace.run_of.directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, name: str) -> float:
        """Start it and wait until it has an address for a name; return the seconds."""
        start = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = self._namespace.popen(self._argv, stdout=log, stderr=log, env=self._env)
        eventually(lambda: self.ask(name) != [], f"{self.name} answers ({self._log})", 120)
        return time.perf_counter() - start

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def ask(self, name: str, timeout_s: float = 0.5) -> list[str]:
        """The addresses that a name has, sorted; none also when nobody answers."""
        query = dns.message.make_query(name, "A", use_edns=0, payload=1232)
        try:
            reply = self._namespace.call(lambda: dns.query.udp(query, self.address, timeout=timeout_s))
        except (OSError, dns.exception.DNSException):
            return []
        return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)

    def slowest_change_ms(self) -> tuple[int, float]:
        """How many changes kproxy has counted, and the bound below which 99 % of them were in the answers."""
        body = get(self._namespace, self.address, 9153, "/metrics").body
        found = re.findall(r'kproxy_dns_change_duration_seconds_bucket\{le="([\d.]+)"\} ([\d.]+)', body)
        count = float(found[-1][1])
        return int(count), next(float(bound) * 1000 for bound, reached in found if float(reached) >= 0.99 * count)

    def memory_mib(self) -> float:
        """What its processes hold, shared pages counted once."""
        assert self._process is not None
        return sum(_pss_kib(pid) for pid in _family(self._process.pid)) / 1024


def kproxy(namespace: Namespace, address: str, kubeconfig: Path, upstream: str) -> Server:
    """`kproxy dns`."""
    argv = [
        *(sys.executable, "-m", "kproxy", "dns", "--kubeconfig", str(kubeconfig), "--dns-ttl", "30"),
        *("--dns-bind-address", f"{address}:53", "--dns-upstream", upstream),
        *("--dns-metrics-bind-address", f"{address}:9153"),
    ]
    return Server("kproxy", namespace, address, argv, {})


def coredns(namespace: Namespace, address: str, kubeconfig: Path, upstream: str, program: Path) -> Server:
    """CoreDNS."""
    corefile = namespace.run_of.directory / "Corefile"
    corefile.write_text(COREFILE.format(address=address, kubeconfig=kubeconfig, upstream=upstream), encoding="utf-8")
    return Server("CoreDNS", namespace, address, [str(program), "-conf", str(corefile)], {"GOMAXPROCS": "1"})


def coredns_program() -> Path | None:
    """The real CoreDNS in the cache of peers, None if it was not built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    found = sorted(Path(home, "kproxy", "peers").glob("*/coredns"))
    return found[-1] if found else None


def _family(pid: int) -> list[int]:
    return [pid, *(one for child in children(pid) for one in _family(child))]


def _pss_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
