"""CoreDNS as a process: its kubernetes plugin, and a forwarder for all other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.query

from tests.controlplane.process import Program
from tests.dns.fixtures import REVERSE_NETWORKS
from tests.lab import Namespace, scaled
from tests.lab.agent import eventually
from tests.peers import peer

if TYPE_CHECKING:
    from pathlib import Path

COREFILE = """\
.:53 {{
    bind {address}
    kubernetes cluster.local {reverse} {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
        zonal
        endpoint_pod_names
    }}
    forward . {upstream}
}}
"""


class CoreDns:
    """Use as a context manager: inside, it has read the API and answers on `address`."""

    def __init__(self, namespace: Namespace, address: str, kubeconfig: Path, upstream: str, directory: Path) -> None:
        self.address = address
        self._namespace = namespace
        corefile = directory / "Corefile"
        reverse = " ".join(REVERSE_NETWORKS)
        corefile.write_text(COREFILE.format(address=address, reverse=reverse, kubeconfig=kubeconfig, upstream=upstream))
        self._program = Program(namespace, [peer("coredns"), "-conf", corefile], directory / "coredns.log")

    def __enter__(self) -> CoreDns:
        self._program.start()
        eventually(self._answers, "CoreDNS answers", 30)
        return self

    def __exit__(self, *exc: object) -> None:
        self._program.stop()

    def _answers(self) -> bool:
        self._program.check()
        query = dns.message.make_query("kubernetes.default.svc.cluster.local.", "A")
        try:
            return bool(self._namespace.call(lambda: dns.query.udp(query, self.address, timeout=scaled(1))).answer)
        except (OSError, dns.exception.Timeout):
            return False
