"""Which UDP conntrack entries are stale, and so must go for their clients to be balanced anew.

UDP has no end of connection: as long as a client keeps sending from one port, conntrack keeps the translation of the
first packet, also when that endpoint is gone. Behaviour: kube-proxy 1.37's clean-up, which also looks at frontends
that have no serving endpoint left and at deleted Services (kube-proxy up to 1.36 leaves those entries).

One mapping holds one IP family. Addresses come in as canonical strings, as everywhere in kproxy, and are packed once
when the filter is made; flows carry packed bytes, because there may be 100,000 of them and few frontends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_Key = tuple[bytes, int]


class UdpFrontend(msgspec.Struct, frozen=True, gc=False):
    """Where clients send to: (clusterIP, externalIP or load-balancer VIP, port), or (None, node port)."""

    address: str | None
    port: int


class Flow(msgspec.Struct, frozen=True, gc=False):
    """A UDP conntrack entry, as far as it matters here. Addresses are packed (4 or 16 bytes).

    `destination` is what the client sent to; `reply_source` is who answers: the endpoint after DNAT, or the
    destination itself where nothing was translated. `entry` is the entry as the kernel gave it, opaque here: what
    deletes the flow needs it.
    """

    destination: bytes
    destination_port: int
    reply_source: bytes
    reply_source_port: int
    entry: bytes


ServingEndpoints = Mapping[UdpFrontend, frozenset[str]]
"""Frontend -> identities ("10.0.0.1:53", "[fd00::1]:53") of its endpoints that *serve*: ready or not, terminating or
not, on whatever node; traffic policies and topology don't count here."""


class StaleFlowFilter:
    """Tells stale flows from others. Make one per clean-up and family.

    A flow is stale when it was sent to one of `frontends` and the answers come from none of the endpoints allowed for
    it: an endpoint that is gone, or the frontend itself (a "black hole" entry made while there was no endpoint).

    A node port counts only on `node_addresses`: the addresses (canonical strings) on which this node serves node
    ports. That is stricter than kube-proxy, which takes any destination with that port number; a flow of others that
    only happens to use the number, forwarded or made by this node, is never hit.

    Raises ValueError when an address or endpoint is none.
    """

    def __init__(self, frontends: ServingEndpoints, node_addresses: Iterable[str] = ()) -> None:
        here = [_pack(address) for address in node_addresses]
        self._allowed: dict[_Key, frozenset[_Key]] = {}
        packed: dict[str, _Key] = {}
        for frontend in sorted(frontends, key=lambda frontend: frontend.address is not None):
            # Node ports come first, so that a VIP which is also an address of the node takes its place back.
            allowed = frozenset(_endpoint(endpoint, packed) for endpoint in frontends[frontend])
            addresses = here if frontend.address is None else [_pack(frontend.address)]
            for address in addresses:
                self._allowed[address, frontend.port] = allowed
        self._ports = {port for _address, port in self._allowed}

    def __bool__(self) -> bool:
        """Tell whether any flow at all could be stale; False: no need to look."""
        return bool(self._allowed)

    @property
    def common_port(self) -> int | None:
        """The one destination port that every stale flow would have; None: several are possible."""
        return next(iter(self._ports)) if len(self._ports) == 1 else None

    def is_stale(self, flow: Flow) -> bool:
        """Tell whether to delete the flow."""
        # Most flows fail this first test, which needs no new object.
        if flow.destination_port not in self._ports:
            return False
        allowed = self._allowed.get((flow.destination, flow.destination_port))
        return allowed is not None and (flow.reply_source, flow.reply_source_port) not in allowed

    def stale(self, flows: Iterable[Flow]) -> Iterator[Flow]:
        """Yield the stale ones of `flows`."""
        return filter(self.is_stale, flows)


def _pack(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _endpoint(identity: str, packed: dict[str, _Key]) -> _Key:
    """Parse "ip:port" or "[ip]:port"; `packed` remembers, as several frontends share endpoints."""
    known = packed.get(identity)
    if known is None:
        address, _colon, port = identity.rpartition(":")
        known = packed[identity] = (_pack(address.strip("[]")), int(port))
    return known
