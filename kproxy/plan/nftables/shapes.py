"""Shapes: chains that all frontends with the same plan share.

A frontend's element says `goto cluster-ip-4`: a clusterIP with up to four endpoints. There are as many such chains as
there are different plans, some tens in a big cluster, whatever the number of Services. A chain is made when the first
frontend needs it and goes when none does.

=========================  ==========================================================================================
``cluster-ip-4``           mark what is to be masqueraded by where it comes from, then ``balance-4``
``external-4``             mark everything, then ``balance-4``
``external-local-8-4``     pods and the node itself: ``balance-8``; others: ``balance-local-4``, the source kept
``balance-4``              translate to one of the endpoints in the slots from 0 on
``balance-local-4``        the same of the local list, in the slots from 65536 on
``sticky-4``               as before, if the client was here before; else ``balance-4`` (``cluster-ip-4-sticky``)
``nodeport-...``           the same for node ports, whose maps have no address in their key
``learn-10800``            remember where a client was sent, for three hours
=========================  ==========================================================================================

The numbers are sizes of lists, see `picks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from kproxy.plan.nftables import layout
from kproxy.plan.nftables import rules as r
from kproxy.plan.nftables.model import Chain
from kproxy.plan.nftables.picks import balance, balance_name
from kproxy.state.service import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.plan.nftables.layout import LayoutOptions
    from kproxy.plan.nftables.model import Rule
    from kproxy.state.addresses import Family

Kind = Literal["cluster-ip", "external", "nodeport"]


class Shape(NamedTuple):
    """The plan that frontends have in common. `cluster` and `local` are sizes of lists (`picks.size_of`).

    `cluster` is that of the endpoints that serve it. `local` is None with the Cluster policy; with the Local policy,
    which external frontends and node ports can have, it is that of the endpoints on this node (0: there are none), and
    `cluster` is for pods and the node itself. `sticky` looks for the client's pin first.
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
    ways = list(_balance(shape, family, shape.cluster, local=False))
    if shape.local:
        ways += _balance(shape, family, shape.local, local=True)
    return (*ways, Chain(shape.chain, tuple(_frontend_rules(shape, family, options))))


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


def _balance(shape: Shape, family: Family, size: int, *, local: bool) -> Iterator[Chain]:
    yield from balance(family, size, node_port=shape.kind == "nodeport", local=local)
    if shape.sticky:
        before = r.rule(r.translate_as_before(family, layout.AFFINITY))
        choose = r.rule(r.goto(balance_name(size, node_port=shape.kind == "nodeport", local=local)))
        yield Chain(_way(shape, size, local=local), (before, choose))


def _way(shape: Shape, size: int, *, local: bool) -> str:
    """Return the chain by which a frontend gets to its endpoints."""
    node_port = shape.kind == "nodeport"
    if not shape.sticky:
        return balance_name(size, node_port=node_port, local=local)
    return f"{'nodeport-' * node_port}sticky{'-local' * local}-{size}"
