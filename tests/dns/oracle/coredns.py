"""CoreDNS as a process: its kubernetes plugin, and a forwarder for all other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.query

from tests.controlplane.control_plane import ADMIN_TOKEN
from tests.dns.fixtures import REVERSE_NETWORKS
from tests.lab import scaled
from tests.lab.agent import eventually
from tests.lab.program import Program
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.controlplane import ControlPlane

COREFILE = """\
.:53 {{
    bind {address}
    kubernetes cluster.local {reverse} {{
        kubeconfig {kubeconfig}
        ttl 5
        {options}
    }}
    forward . {upstream}
    {plugins}
}}
"""


class CoreDns:
    """Use as a context manager: inside, it has read the API and answers on `address`."""

    def __init__(
        self, control: ControlPlane, address: str, upstream: str, options: Sequence[str], plugins: str = ""
    ) -> None:
        self.address = address
        self._namespace = control.namespace
        corefile = control.directory / "Corefile"
        corefile.write_text(
            COREFILE.format(
                address=address,
                reverse=" ".join(REVERSE_NETWORKS),
                kubeconfig=control.kubeconfig("coredns", token=ADMIN_TOKEN),
                upstream=upstream,
                options="\n        ".join(options),
                plugins=plugins,
            )
        )
        argv = (peer("coredns"), "-conf", corefile)
        self._program = Program(self._namespace, argv, control.directory / "coredns.log")

    def __enter__(self) -> CoreDns:
        self._program.start()
        try:
            eventually(self._answers, "CoreDNS answers", 30)
        except BaseException:
            self._program.kill()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._program.stop()

    def _answers(self) -> bool:
        self._program.check()
        query = dns.message.make_query("web.shop.svc.cluster.local.", "A")
        try:
            return bool(self._namespace.call(lambda: dns.query.udp(query, self.address, timeout=scaled(1))).answer)
        except (OSError, dns.exception.Timeout):
            return False
