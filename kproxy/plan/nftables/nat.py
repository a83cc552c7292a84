"""What a service port adds to the translation: the shape of each frontend, its endpoints, and its affinity."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from kproxy.plan.intent import FrontendKind, Verdict
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.model import comment_bytes, verdict_value
from kproxy.plan.nftables.packing import LOCAL_SLOTS, pack_backends, pack_frontend
from kproxy.plan.nftables.picks import size_of
from kproxy.plan.nftables.rules import goto
from kproxy.plan.nftables.shapes import Learn, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kproxy.plan.intent import PortIntent
    from kproxy.plan.nftables.shapes import Kind
    from kproxy.state.endpoints import Endpoint


class FrontendPlan(NamedTuple):
    """One frontend that forwards: where its elements stand, and what they say.

    `lists` are its endpoints by the slot in which the list begins. `affinity` is None without session affinity.
    """

    key: bytes
    node_port: bool
    shape: Shape
    comment: bytes
    lists: dict[int, Sequence[bytes]]
    affinity: Learn | None

    def verdict(self) -> bytes:
        """Return the value of the frontend's element: its shape, and the Service it belongs to."""
        return _goto(self.shape) + self.comment

    def learning(self) -> bytes:
        """Return the value of the element that makes its clients be remembered."""
        assert self.affinity is not None
        return _goto(self.affinity) + self.comment

    @property
    def services(self) -> str:
        """The verdict map."""
        return layout.NODE_PORTS if self.node_port else layout.SERVICES

    @property
    def endpoints(self) -> str:
        """The map of endpoints."""
        return layout.NODE_PORT_ENDPOINTS if self.node_port else layout.ENDPOINTS

    @property
    def learners(self) -> str:
        """The verdict map of affinity."""
        return layout.AFFINITY_NODE_PORTS if self.node_port else layout.AFFINITY_SERVICES


def frontends(intent: PortIntent) -> Iterator[FrontendPlan]:
    """Yield the frontends of one service port that forward anything."""
    port = intent.port
    cluster, local = _Packed(intent.selection.cluster), _Packed(intent.selection.local)
    affinity = Learn(port.affinity_seconds) if port.affinity_seconds is not None else None
    sticky, comment = affinity is not None, b"\0" + comment_bytes(str(port.name))
    if intent.internal is Verdict.FORWARD:
        serving = local() if port.internal_local else cluster()
        key = pack_frontend(port.cluster_ip, port.protocol, port.port)
        shape = Shape("cluster-ip", size_of(len(serving)), sticky=sticky)
        yield FrontendPlan(key, False, shape, comment, {0: serving}, affinity)
    if not intent.forwards_external:
        return
    lists: dict[int, Sequence[bytes]] = {0: cluster()}
    if port.external_local and local():
        lists[LOCAL_SLOTS] = local()
    for frontend in intent.external_frontends():
        node_port = frontend.kind is FrontendKind.NODE_PORT
        kind: Kind = "nodeport" if node_port else "external"
        local_size = size_of(len(local())) if port.external_local else None
        shape = Shape(kind, size_of(len(cluster())), local_size, sticky)
        key = pack_frontend(frontend.ip, port.protocol, frontend.port)
        yield FrontendPlan(key, node_port, shape, comment, lists, affinity)


@cache
def _goto(shape: Shape | Learn) -> bytes:
    """Return a verdict as the value of an element; there are few, and each stands behind thousands of frontends."""
    return verdict_value(goto(shape.chain))


class _Packed:
    """Endpoints, packed when somebody asks for them, and only once. A list takes as many as it has slots."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = tuple(endpoints)[:LOCAL_SLOTS]
        self._packed: list[bytes] | None = None

    def __call__(self) -> list[bytes]:
        if self._packed is None:
            self._packed = pack_backends(self._endpoints)
        return self._packed
