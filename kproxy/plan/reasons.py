"""Why not: every endpoint that is passed over, and everything that is refused or dropped, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.intent import FrontendKind, Verdict
from kproxy.state.addresses import with_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.intent import PortIntent


def reasons(intent: PortIntent) -> Iterator[str]:
    """Yield what this port does not do on this node, and why.

    "shop/web:http (TCP): 10.244.2.20:8080 is passed over: its hints name other zones"
    "shop/web:http (TCP): cluster IP 10.96.0.10:80 rejects: it has no endpoints"
    """
    port = intent.port
    who = f"{port.name} ({port.protocol})"
    for endpoint, why in intent.passed_over().values():
        yield f"{who}: {endpoint.address} is passed over: {why}"
    if intent.internal is not Verdict.FORWARD:
        where = f"{FrontendKind.CLUSTER_IP} {with_port(port.cluster_ip, port.port)}"
        yield f"{who}: {where} {_verb(intent.internal)}: it {intent.internal_reason}"
    if intent.external is not Verdict.FORWARD:
        short_cut = " (pods and the node itself are served)" if intent.short_circuit else ""
        for frontend in intent.external_frontends():
            where = with_port(frontend.ip, frontend.port) if frontend.ip else str(frontend.port)
            yield f"{who}: {frontend.kind} {where} {_verb(intent.external)}: it {intent.external_reason}{short_cut}"


def _verb(verdict: Verdict) -> str:
    return "rejects" if verdict is Verdict.REJECT else "drops"
