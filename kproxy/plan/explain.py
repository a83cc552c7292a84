"""What happens to a new connection on this node, step by step, and why: the plan in words, whatever the mode.

Every mode makes the same of a `PortIntent`; so does this, for one packet. The flow table is played through it as it is
through the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.plan.intent import Frontend, FrontendKind, Verdict
from kproxy.state.addresses import cidr_contains, with_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.local_traffic import LocalTraffic
    from kproxy.state.endpoints import Endpoint


class Surroundings(msgspec.Struct, frozen=True):
    """What of the node and the settings decides about a packet.

    `node_port_ips` None: every address of the node. `service_cidrs` are the ranges of clusterIPs. `iptables`: this mode
    of kube-proxy, and so of kproxy, refuses in chains that not every packet passes; the others know no such exceptions.
    """

    local: LocalTraffic
    masquerade_all: bool
    node_ip: str
    addresses: tuple[str, ...]
    node_port_ips: tuple[str, ...] | None
    localhost_node_ports: bool
    iptables: bool = False
    service_cidrs: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """A new connection: TCP, UDP or SCTP, from a source address to an address and port.

    `interface` is where it comes in; "" for one of the node's own processes, or where that is not known.
    """

    protocol: str
    source: str
    destination: str
    port: int
    interface: str = ""


class Step(msgspec.Struct, frozen=True):
    """One thing that is decided, and why."""

    what: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class Explanation(msgspec.Struct, frozen=True):
    """The outcome. Without a verdict kproxy has nothing to do with the packet.

    `endpoints` are what it may be sent to, with equal chances; `masqueraded` tells whether they see the node's address
    (one that is sent to itself does in any case). `intent` is the service port that it is for.
    """

    intent: PortIntent | None
    steps: tuple[Step, ...]
    verdict: Verdict | None = None
    endpoints: tuple[Endpoint, ...] = ()
    masqueraded: bool = False


def explain(question: Question, intents: Iterable[PortIntent], around: Surroundings) -> Explanation:
    """Find what a packet is for, and say what becomes of it and why."""
    intents = tuple(intents)
    found = _find(question, intents, around)
    if found is None:
        return _nobodys(question, intents, around)
    intent, frontend = found
    return _Explainer(question, intent, frontend, around).explain()


def frontends(intent: PortIntent) -> Iterator[Frontend]:
    """Yield every way to address a service port, the clusterIP first."""
    yield Frontend(FrontendKind.CLUSTER_IP, intent.port.cluster_ip, intent.port.port)
    yield from intent.external_frontends()


def _find(
    question: Question, intents: Iterable[PortIntent], around: Surroundings
) -> tuple[PortIntent, Frontend] | None:
    """Addresses of their own go before node ports, as in the rules."""
    node_port = None
    for intent in intents:
        if intent.port.protocol != question.protocol:
            continue
        for frontend in frontends(intent):
            if frontend.port != question.port:
                continue
            if frontend.ip == question.destination:
                return intent, frontend
            if not frontend.ip and _serves_node_ports(question.destination, intent, around):
                node_port = intent, frontend
    return node_port


def _nobodys(question: Question, intents: tuple[PortIntent, ...], around: Surroundings) -> Explanation:
    where, address = f"{with_port(question.destination, question.port)} ({question.protocol})", question.destination
    if not around.iptables and any(intent.port.cluster_ip == address for intent in intents):
        return Explanation(
            None, (Step(f"{where} is refused", f"no Service at {address} has this port"),), Verdict.REJECT
        )
    within = next((cidr for cidr in around.service_cidrs if cidr_contains(cidr, address)), "")
    if not around.iptables and within:
        why = f"it is in the ServiceCIDR {within}, and no Service has it"
        return Explanation(None, (Step(f"{where} is dropped", why),), Verdict.DROP)
    return Explanation(None, (Step(f"{where} is passed on", "no Service has this address and port here"),))


def _serves_node_ports(address: str, intent: PortIntent, around: Surroundings) -> bool:
    if address == "::1" or address.startswith("127."):
        return around.localhost_node_ports and address != "::1"
    if around.iptables and intent.external is not Verdict.FORWARD and address in around.addresses:
        return True  # refused on every address, whatever --nodeport-addresses says
    return address in (around.addresses if around.node_port_ips is None else around.node_port_ips)


class _Explainer:
    def __init__(self, question: Question, intent: PortIntent, frontend: Frontend, around: Surroundings) -> None:
        self.question, self.intent, self.frontend, self.around = question, intent, frontend, around
        self.steps: list[Step] = []

    def explain(self) -> Explanation:
        kind = self.frontend.kind
        where = with_port(self.question.destination, self.question.port)
        self._say(f"{where} is the {kind} of {self.intent.port.name} ({self.question.protocol})")
        if kind is FrontendKind.LOAD_BALANCER and not self._let_in():
            return self._end(Verdict.DROP)
        return self._cluster_ip() if kind is FrontendKind.CLUSTER_IP else self._external()

    def _let_in(self) -> bool:
        ranges = self.intent.port.source_ranges
        if not ranges or (self.around.iptables and not self.intent.forwards_external):
            return True
        source = self.question.source
        within = next((cidr for cidr in ranges if cidr_contains(cidr, source)), "")
        if within:
            self._say("it is let in", f"{source} is in {within}")
            return True
        vips = self.intent.port.load_balancer_vips
        if source in vips and any(cidr_contains(cidr, self.around.node_ip) for cidr in ranges):
            self._say("it is let in", "it is this node's own, sent from the address itself")
            return True
        self._say("it is dropped", f"{source} is in none of the source ranges {', '.join(ranges)}")
        return False

    def _cluster_ip(self) -> Explanation:
        intent, around = self.intent, self.around
        if intent.internal is not Verdict.FORWARD:
            return self._refuse(intent.internal, intent.internal_reason)
        if intent.port.internal_local:
            self._say("only endpoints on this node are used", "internalTrafficPolicy is Local")
        if around.masquerade_all:
            masqueraded, why = True, "--masquerade-all"
        elif not around.local:
            masqueraded, why = False, "nothing says which addresses are pods' (see --cluster-cidr)"
        elif self._from_pod():
            masqueraded, why = False, "it comes from a pod"
        else:
            masqueraded, why = True, "it does not come from a pod, so the reply has to come back through this node"
        return self._forward(intent.internal_endpoints, masqueraded, why)

    def _external(self) -> Explanation:
        intent = self.intent
        if intent.port.external_local and intent.short_circuit:
            if self.around.local and self._from_pod():
                self._say(
                    "all endpoints are used", "externalTrafficPolicy Local does not count for pods of the cluster"
                )
                return self._forward(intent.selection.cluster, False, "it comes from a pod")
            if self._from_node():
                self._say("all endpoints are used", "externalTrafficPolicy Local does not count for the node itself")
                return self._forward(intent.selection.cluster, True, "it comes from the node itself")
        if intent.external is not Verdict.FORWARD:
            if self.around.iptables and self._from_node() and self.frontend.ip:
                self._say("it is passed on", "in iptables mode the node's own packets are not refused")
                return Explanation(intent, tuple(self.steps))
            return self._refuse(intent.external, intent.external_reason)
        if not intent.port.external_local:
            why = "it came in by this node, and the reply has to leave by it"
            return self._forward(intent.external_endpoints, True, why)
        self._say("only endpoints on this node are used", "externalTrafficPolicy is Local")
        from_node = self._from_node()
        why = "it comes from the node itself" if from_node else "externalTrafficPolicy is Local"
        return self._forward(intent.external_endpoints, from_node, why)

    def _from_pod(self) -> bool:
        local = self.around.local
        if local.cidr:
            return cidr_contains(local.cidr, self.question.source)
        interface = self.question.interface
        if local.interface:
            return interface == local.interface
        return bool(interface) and interface.startswith(local.interface_prefix)

    def _from_node(self) -> bool:
        source = self.question.source
        return source in self.around.addresses or source.startswith("127.") or source == "::1"

    def _forward(self, endpoints: tuple[Endpoint, ...], masqueraded: bool, why: str) -> Explanation:
        seconds = self.intent.port.affinity_seconds
        if seconds is not None:
            self._say("a client stays with its endpoint", f"sessionAffinity, for {seconds} s after its last connection")
        seen = "the node's address (masqueraded)" if masqueraded else f"its own address, {self.question.source}"
        self._say(f"endpoints see {seen}", why)
        if not masqueraded and any(one.ip == self.question.source for one in endpoints):
            self._say("sent to itself, it sees the node's address", "it would answer itself, past the translation")
        return self._end(Verdict.FORWARD, endpoints, masqueraded)

    def _refuse(self, verdict: Verdict, reason: object) -> Explanation:
        self._say("it is refused" if verdict is Verdict.REJECT else "it is dropped", f"the Service {reason}")
        return self._end(verdict)

    def _say(self, what: str, why: str = "") -> None:
        self.steps.append(Step(what, why))

    def _end(self, verdict: Verdict, endpoints: tuple[Endpoint, ...] = (), masqueraded: bool = False) -> Explanation:
        return Explanation(self.intent, tuple(self.steps), verdict, endpoints, masqueraded)
