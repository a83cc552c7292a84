"""The own Node at the API server: what it still lacks, and what stays of it when it goes.

kube-proxy waits for its Node's addresses (and podCIDRs, where they tell local traffic), and ends when they change or
the Node goes, to start again with what there is then. Here the rules follow instead, and the last facts stay
(docs/decisions/0011).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.state.node import addresses_of

if TYPE_CHECKING:
    from kproxy.kube import wire


def missing(name: str, node: wire.Node | None, *, pod_cidrs: bool) -> str:
    """Return what is still missing of what is waited for ("Node n1", "address of Node n1"), "" if nothing is.

    `pod_cidrs`: they are waited for, too.
    """
    if node is None:
        return f"Node {name}"
    if not addresses_of(node):
        return f"address of Node {name}"
    return f"podCIDRs of Node {name}" if pod_cidrs and not _has_pod_cidrs(node) else ""


def with_last_facts(now: wire.Node | None, last: wire.Node | None) -> wire.Node | None:
    """Return the Node as it is now, with what it said last where it says nothing: all of it when it is gone.

    A Node that is made again has at first neither addresses nor podCIDRs; nothing of the machine has changed.
    """
    if now is None or last is None:
        return now or last
    if not _has_pod_cidrs(now):
        pod = {"pod_cidr": last.spec.pod_cidr, "pod_cidrs": last.spec.pod_cidrs}
        now = msgspec.structs.replace(now, spec=msgspec.structs.replace(now.spec, **pod))
    if not addresses_of(now):
        now = msgspec.structs.replace(now, status=last.status)
    return now


def _has_pod_cidrs(node: wire.Node) -> bool:
    return bool(node.spec.pod_cidrs or node.spec.pod_cidr)
