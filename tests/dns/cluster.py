"""Objects of a cluster, in few words, and a client: dnspython writes the queries and reads the replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import msgspec

from kproxy.dns.forward import Forward
from kproxy.kube import wire
from kproxy.kube.decode import API_VERSIONS
from kproxy.sources.changes import Change

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.responder import Responder
    from tests.lab.manifests import Object

SERVICE_NAME = "kubernetes.io/service-name"


def ports(*texts: str) -> list[tuple[str, str, int]]:
    """Read "http/TCP/80"; "/TCP/80" has no name."""
    return [(name, protocol, int(number)) for name, protocol, number in (text.split("/") for text in texts)]


def service(key: str, *ips: str, on: Iterable[str] = (), external_name: str | None = None) -> Change:
    """A Service; `ips` are its clusterIPs ("None": headless)."""
    namespace, name = key.split("/")
    spec = wire.ServiceSpec(
        type="ExternalName" if external_name is not None else "ClusterIP",
        cluster_ip=ips[0] if ips else None,
        cluster_ips=list(ips) or None,
        external_name=external_name,
        ports=[
            wire.ServicePort(name=name or None, protocol=protocol, port=port) for name, protocol, port in ports(*on)
        ],
    )
    return Change("Service", key, wire.Service(metadata=wire.ObjectMeta(name=name, namespace=namespace), spec=spec))


def endpoint(text: str) -> wire.Endpoint:
    """Read "10.0.0.1" or "10.0.0.1=hostname", either with "!" (ready: false) or "+" (ready: true) behind it.

    "10.0.0.1@a" is in zone a, "10.0.0.1~p" is Pod p.
    """
    ready = {"!": False, "+": True}.get(text[-1])
    text, _, pod_name = text.rstrip("!+").partition("~")
    text, _, zone = text.partition("@")
    ip, _, hostname = text.partition("=")
    return wire.Endpoint(
        addresses=[ip],
        hostname=hostname or None,
        conditions=wire.EndpointConditions(ready=ready),
        zone=zone or None,
        target_ref=wire.ObjectReference(pod_name) if pod_name else None,
    )


def slice_(key: str, of: str, *endpoints: str, on: Iterable[str] = ()) -> Change:
    """An EndpointSlice of a Service; its family is that of the first endpoint."""
    namespace, name = key.split("/")
    made = wire.EndpointSlice(
        metadata=wire.ObjectMeta(name=name, namespace=namespace, labels={SERVICE_NAME: of}),
        address_type="IPv6" if endpoints and ":" in endpoints[0] else "IPv4",
        endpoints=[endpoint(text) for text in endpoints],
        ports=[wire.EndpointPort(name=name, protocol=protocol, port=port) for name, protocol, port in ports(*on)],
    )
    return Change("EndpointSlice", key, made)


def endpoints_object(key: str, *texts: str, on: Iterable[str] = ()) -> Change:
    """An Endpoints object, the API before slices; "!" makes a notReadyAddress."""
    space, name = key.split("/")
    read = [(text.rstrip("!+").partition("="), text.endswith("!")) for text in texts]
    found = {
        waiting: [
            wire.EndpointAddress(ip=ip, hostname=host or None) for (ip, _, host), unready in read if unready is waiting
        ]
        for waiting in (False, True)
    }
    subset = wire.EndpointSubset(
        addresses=found[False],
        not_ready_addresses=found[True],
        ports=[wire.EndpointPort(name=name, protocol=proto, port=number) for name, proto, number in ports(*on)],
    )
    return Change("Endpoints", key, wire.Endpoints(wire.ObjectMeta(name=name, namespace=space), subsets=[subset]))


def pod(key: str, *ips: str, phase: str = "Running") -> Change:
    space, name = key.split("/")
    status = wire.PodStatus(phase=phase, pod_ips=[wire.PodIP(ip=ip) for ip in ips])
    return Change("Pod", key, wire.Pod(wire.ObjectMeta(name=name, namespace=space), status=status))


def namespace(name: str) -> Change:
    return Change("Namespace", name, wire.Namespace(metadata=wire.ObjectMeta(name=name)))


def gone(kind: str, key: str) -> Change:
    return Change(kind, key, None)


def manifest(change: Change) -> Object:
    """The object of a change as a manifest has it."""
    return {"apiVersion": API_VERSIONS[change.kind], "kind": change.kind, **msgspec.to_builtins(change.obj)}


def ask(
    responder: Responder, name: str, qtype: str = "A", *, edns: int | None = None, dnssec: bool = False
) -> dns.message.Message:
    """The reply to one question; `edns` is the UDP size to offer."""
    options = {} if edns is None else {"use_edns": 0, "payload": edns}
    query = dns.message.make_query(name, qtype, want_dnssec=dnssec, **options)  # type: ignore[arg-type]
    reply = responder.answer(query.to_wire())
    assert isinstance(reply, bytes), reply
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    return message


def forwarded(responder: Responder, name: str, qtype: str = "A", *, edns: int | None = None) -> Forward:
    """What is asked of somebody else for a question."""
    options = {} if edns is None else {"use_edns": 0, "payload": edns}
    forward = responder.answer(dns.message.make_query(name, qtype, **options).to_wire())  # type: ignore[arg-type]
    assert isinstance(forward, Forward), forward
    return forward


def records(section: list[dns.rrset.RRset]) -> set[str]:
    """A section as text: "name ttl type data", one line a record."""
    return {
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
        for rrset in section
        for rdata in rrset
    }
