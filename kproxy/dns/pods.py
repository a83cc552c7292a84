"""Which addresses the Pods of a namespace have: what "verified" names of Pods are answered by."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kproxy.dns.names import pack_ip, relative
from kproxy.state.addresses import parse_ip
from kproxy.state.labels import is_label

if TYPE_CHECKING:
    from kproxy.kube import wire

Pair = tuple[bytes, bytes]
"""A namespace's label (relative name) and a packed address."""

ENDED = ("Succeeded", "Failed")
"""Phases in which a Pod's address may be another's already."""


class PodAddresses:
    """The addresses of all Pods. Pods of the host's network share the node's, so they are counted."""

    def __init__(self) -> None:
        self._pods: dict[str, tuple[Pair, ...]] = {}
        self._counts: dict[Pair, int] = {}

    def holds(self, namespace: bytes, address: bytes) -> bool:
        """Tell whether a Pod of that namespace has an address."""
        return (namespace, address) in self._counts

    def change(self, name: str, pod: wire.Pod | None) -> bool:
        """Take a Pod in, or (None) out; tell whether its addresses are others now."""
        after = _pairs(name, pod) if pod is not None else ()
        before = self._pods.pop(name, ())
        if after:
            self._pods[name] = after
        for pair in before:
            self._counts[pair] -= 1
            if not self._counts[pair]:
                del self._counts[pair]
        for pair in after:
            self._counts[pair] = self._counts.get(pair, 0) + 1
        return after != before


def _pairs(name: str, pod: wire.Pod) -> tuple[Pair, ...]:
    namespace, status = name.split("/", 1)[0], pod.status
    if status is None or status.phase in ENDED or not is_label(namespace):
        return ()
    found: dict[Pair, None] = {}
    for one in status.pod_ips or ():
        with suppress(ValueError):
            found[relative(namespace.encode()), pack_ip(parse_ip(one.ip)[1])] = None
    return tuple(found)
