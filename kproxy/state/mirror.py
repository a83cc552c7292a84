"""Endpoints (the old API) become EndpointSlices, the way the control plane's mirroring controller makes them.

Behaviour: Kubernetes' endpointslicemirroring controller. One slice per subset and family; addresses are ready,
notReadyAddresses are not; an object that is a leader-election lock, or asks not to be mirrored, is left alone; at
most 1,000 addresses of a subset are taken. One thing differs on purpose (docs/decisions): a Service with a selector
is mirrored too, because in a directory of manifests nobody else would make its slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.kube import wire
from kproxy.state.addresses import FAMILIES, Family, parse_ip
from kproxy.state.endpoints import LABEL_SERVICE_NAME
from kproxy.state.service import LABEL_HEADLESS, LABEL_PROXY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

LABEL_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LABEL_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MIRRORING = "endpointslicemirroring-controller.k8s.io"
ANNOTATION_LEADER = "control-plane.alpha.kubernetes.io/leader"
MAX_PER_SUBSET = 1000


def mirror(endpoints: wire.Endpoints, *, delegated: bool = False) -> dict[str, wire.EndpointSlice]:
    """Return the slices for one Endpoints object by name; empty when it is not to be mirrored.

    With `delegated` also those that no rules are made for, because they are headless or another proxy's.
    """
    meta = endpoints.metadata
    labels, annotations = meta.labels or {}, meta.annotations or {}
    if labels.get(LABEL_SKIP_MIRROR) == "true" or ANNOTATION_LEADER in annotations:
        return {}
    if not delegated and (LABEL_PROXY_NAME in labels or LABEL_HEADLESS in labels):
        return {}  # the slices would carry the label, and be somebody else's
    slices: dict[str, wire.EndpointSlice] = {}
    for index, subset in enumerate(endpoints.subsets or ()):
        by_family = _addresses(subset)
        for family in FAMILIES:
            if by_family[family]:
                name = f"{meta.name}-mirror-{index}-{family.lower()}"
                slices[name] = wire.EndpointSlice(
                    metadata=wire.ObjectMeta(
                        name=name,
                        namespace=meta.namespace,
                        labels={**labels, LABEL_SERVICE_NAME: meta.name, LABEL_MANAGED_BY: MIRRORING},
                    ),
                    address_type=family,
                    endpoints=by_family[family],
                    ports=[
                        wire.EndpointPort(name=port.name or "", protocol=port.protocol, port=port.port)
                        for port in subset.ports or ()
                    ],
                )
    return slices


def is_mirrored(slice_: wire.EndpointSlice) -> bool:
    """Tell whether a slice was itself made from Endpoints (kubectl's output shows both)."""
    return (slice_.metadata.labels or {}).get(LABEL_MANAGED_BY) == MIRRORING


def _addresses(subset: wire.EndpointSubset) -> dict[Family, list[wire.Endpoint]]:
    found: dict[Family, list[wire.Endpoint]] = {family: [] for family in FAMILIES}
    taken = 0
    for address, ready in _both(subset):
        try:
            family, ip = parse_ip(address.ip)
        except ValueError:
            continue
        taken += 1
        if taken > MAX_PER_SUBSET:
            break
        found[family].append(
            wire.Endpoint(
                addresses=[ip],
                conditions=wire.EndpointConditions(ready=ready),
                node_name=address.node_name,
                hostname=address.hostname,
            )
        )
    return found


def _both(subset: wire.EndpointSubset) -> Iterable[tuple[wire.EndpointAddress, bool]]:
    for address in subset.addresses or ():
        yield address, True
    for address in subset.not_ready_addresses or ():
        yield address, False
