"""Shapes: chains that all frontends with the same plan share.

A frontend's element says `goto cluster-ip-3`: a clusterIP with three endpoints. There are as many such chains as there
are different plans, some tens in a big cluster, whatever the number of Services. A chain is made when the first
frontend needs it and goes when none does.

=========================  ==========================================================================================
``cluster-ip-3``           mark what is to be masqueraded by where it comes from, then ``balance-3``
``external-3``             mark everything, then ``balance-3``
``external-local-3-2``     pods and the node itself: ``balance-3``; others: ``balance-local-2``, the source kept
``balance-3``              translate to one of the endpoints in the slots 0 to 2
``balance-local-2``        the same of the local list, in the slots from 65536 on
``sticky-3``               as before, if the client was here before; else ``balance-3`` (``cluster-ip-3-sticky``)
``nodeport-...``           the same for node ports, whose maps have no address in their key
``learn-10800``            remember where a client was sent, for three hours
=========================  ==========================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from kproxy.plan.nftables import layout
from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.model import Chain
from kproxy.plan.nftables.packing import LOCAL_SLOTS
from kproxy.state.service import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.nftables.layout import LayoutOptions
    from kproxy.plan.nftables.model import Rule
    from kproxy.state.addresses import Family

Kind = Literal["cluster-ip", "external", "nodeport"]


class Shape(NamedTuple):
    """The plan that frontends have in common.

    `cluster` endpoints serve it. `local` is None with the Cluster policy; with the Local policy, which external
    frontends and node ports can have, it is the number of endpoints on this node, and `cluster` are those that pods and
    the node itself are sent to. `sticky` looks for the client's pin first.
    """

    kind: Kind
    cluster: int
    local: int | None = None
    sticky: bool = False

    @property
    def chain(self) -> str:
        """The chain's name."""
        policy = "" if self.local is None else "-local"
        local = "" if self.local is None else f"-{self.local}"
        return f"{self.kind}{policy}-{self.cluster}{local}{'-sticky' * self.sticky}"


class Learn(NamedTuple):
    """Remember clients for so many seconds."""

    seconds: int

    @property
    def chain(self) -> str:
        """The chain's name."""
        return f"learn-{self.seconds}"


def chains_of(shape: Shape | Learn, family: Family, options: LayoutOptions) -> tuple[Chain, ...]:
    """Return the chains of a shape, those first that others go to. Shapes have chains in common."""
    if isinstance(shape, Learn):
        learn = r.remember(family, layout.AFFINITY, shape.seconds)
        return (Chain(shape.chain, tuple(r.rule(r.protocol_is(protocol), learn) for protocol in PROTOCOLS)),)
    balance = list(_balance(shape, family, shape.cluster, local=False))
    if shape.local:
        balance += _balance(shape, family, shape.local, local=True)
    return (*balance, Chain(shape.chain, tuple(_frontend_rules(shape, family, options))))


def _frontend_rules(shape: Shape, family: Family, options: LayoutOptions) -> Iterator[Rule]:
    cluster_list = r.goto(_way(shape, shape.cluster, local=False))
    if shape.local is None:
        if shape.kind != "cluster-ip" or options.masquerade_all:
            yield r.rule(r.jump(layout.MARK))
        elif options.local:
            yield r.rule(r.not_from_pods(family, options.local), r.jump(layout.MARK))
        yield r.rule(cluster_list)
        return
    if options.local:
        yield r.rule(r.from_pods(family, options.local), cluster_list)
    from_node = r.address_type_is_local("saddr")
    yield r.rule(from_node, r.jump(layout.MARK))
    yield r.rule(from_node, cluster_list)
    if shape.local:
        yield r.rule(r.goto(_way(shape, shape.local, local=True)))


def _balance(shape: Shape, family: Family, count: int, *, local: bool) -> Iterator[Chain]:
    base = LOCAL_SLOTS if local else 0
    node_port = shape.kind == "nodeport"
    key = r.NODE_PORT if node_port else r.frontend(family)
    endpoints = layout.NODE_PORT_ENDPOINTS if node_port else layout.ENDPOINTS
    choose = [r.rule(r.translate(family, key, count, base, endpoints))]
    if count > 1:
        # A packet may have looked up its chain just before a change and its endpoint just after, and find no slot.
        choose.append(r.rule(r.translate(family, key, 1, base, endpoints)))
    balance = _name(shape, "balance", count, local=local)
    yield Chain(balance, tuple(choose))
    if shape.sticky:
        before = r.rule(r.translate_as_before(family, layout.AFFINITY))
        yield Chain(_name(shape, "sticky", count, local=local), (before, r.rule(r.goto(balance))))


def _way(shape: Shape, count: int, *, local: bool) -> str:
    return _name(shape, "sticky" if shape.sticky else "balance", count, local=local)


def _name(shape: Shape, what: str, count: int, *, local: bool) -> str:
    return f"{'nodeport-' * (shape.kind == 'nodeport')}{what}{'-local' * local}-{count}"
