"""The clusters that the table's questions are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.zone import Zone
from kproxy.dns.zone_config import ZoneConfig
from tests.dns.cluster import namespace, pod, service, slice_

if TYPE_CHECKING:
    from typing import Any

    from kproxy.sources.changes import Change

HTTP = ["http/TCP/80"]
NAMESPACES = [namespace(name) for name in ("shop", "hidden", "kube-system", "podns")]

SHOP: list[Change] = [
    *NAMESPACES,
    service("shop/web", "10.96.0.1", on=HTTP),
    slice_("shop/web-1", "web", "10.244.0.1=w-a", on=HTTP),
    service("shop/idle", "10.96.0.7", on=HTTP),
    slice_("shop/idle-1", "idle", on=HTTP),
    service("shop/web6", "fd00:96::1", on=HTTP),
    service("shop/dual", "10.96.0.3", "fd00:96::3", on=HTTP),
    service("shop/multi", "10.96.0.100", on=["http/TCP/80", "https/TCP/443"]),
    slice_("shop/multi-1", "multi", "10.244.0.253=multi", on=["http/TCP/80", "https/TCP/443"]),
    service("shop/peers", "None", on=HTTP),
    slice_("shop/peers-1", "peers", "10.244.0.2", "10.244.0.3", "10.244.0.4=twin", "10.244.0.5=twin", on=HTTP),
    slice_("shop/peers-2", "peers", "fd00:244::1", "fd00:244::2", on=HTTP),
    service("shop/bare", "None"),
    slice_("shop/bare-1", "bare", "10.244.0.20"),
    service("shop/stale", "None", on=["c/UDP/1234"]),
    slice_("shop/stale-1", "stale", "10.244.0.30!", on=["c/UDP/1234"]),
    service("shop/mixed", "None", on=["c/UDP/1234"]),
    slice_("shop/mixed-1", "mixed", "10.244.0.31+", "10.244.0.32", "10.244.0.33!", on=["c/UDP/1234"]),
    service("shop/early", "None"),
    slice_("shop/early-1", "early", "10.244.0.34+"),
    service("shop/ext", external_name="target.example"),
    service("shop/alias", external_name="web.shop.svc.cluster.local."),
    service("shop/extip", external_name="192.0.2.9"),
    service("hidden/web", "10.96.0.2", on=HTTP),
    service("kube-system/kube-dns", "10.96.0.10", on=["dns/UDP/53"]),
    slice_("kube-system/kube-dns-1", "kube-dns", "10.244.9.9", on=["dns/UDP/53"]),
    # Not of the reference's fixture, but its rows speak of them.
    service("shop/moved", "None", on=HTTP),
    slice_("shop/moved-1", "moved", "10.244.0.60", on=["http/TCP/8080"]),
    service("shop/crowd", "None", on=HTTP),
    slice_("shop/crowd-1", "crowd", *[f"10.244.7.{number}" for number in range(1, 101)], on=HTTP),
    slice_("shop/crowd-2", "crowd", *[f"10.244.7.{number}" for number in range(101, 151)], on=HTTP),
    pod("podns/p1", "10.240.0.1", "fd00:240::1"),
    pod("podns/done", "10.240.0.9", phase="Succeeded"),
    service("shop/1kubernetes", "10.96.0.11", on=HTTP),
]
"""F1: Services of every kind."""

ZONES: list[Change] = [
    *NAMESPACES,
    service("shop/web", "10.96.0.1", on=HTTP),
    slice_("shop/web-1", "web", "10.244.0.1@a", on=HTTP),
    service("shop/db", "None", on=HTTP),
    slice_("shop/db-1", "db", "10.244.3.1=db-1@a", "10.244.3.2=db-2@B", "10.244.3.3=db-3@b", on=HTTP),
    service("shop/far", "None", on=HTTP),
    slice_("shop/far-1", "far", "10.244.4.1@eu-1.c", on=HTTP),
    service("shop/named", "None", on=HTTP),
    slice_("shop/named-1", "named", "10.244.0.40~p-x", f"10.244.0.41~{'p' * 64}", "10.244.0.42=host~p-z", on=HTTP),
]
"""Endpoints that say in which zone they are, and of which Pod."""

REVERSE: list[Change] = [
    *NAMESPACES,
    service("shop/web", "10.96.1.100", on=HTTP),
    slice_("shop/web-1", "web", "10.244.0.100=w-a", "10.244.0.99=both", on=HTTP),
    slice_("shop/web-3", "web", "10.244.0.100=w-a", on=HTTP),
    slice_("shop/web-2", "web", "fd00:77:30::a=six", "fd00:77:30::2:9ba6=six2", on=HTTP),
    slice_("shop/two-1", "two", "10.244.0.99=both", on=HTTP),
    service("shop/peers", "None", on=HTTP),
    slice_("shop/peers-1", "peers", "10.244.0.2", on=HTTP),
    service("hidden/web", "10.96.0.2", on=HTTP),
    slice_("hidden/web-1", "web", "10.244.0.77", on=HTTP),
]
"""F2: addresses, for reverse look-ups."""

REVERSE_NETWORKS = ("10.244.0.0/16", "10.96.0.0/16", "fd00:77:30::/64")

LISTENING = ("169.254.20.10", "fd00:20::10")

CLUSTERS: dict[str, tuple[dict[str, Any], list[Change]]] = {
    "shop": ({"namespaces": ("shop",)}, SHOP),
    "all": ({}, SHOP),
    "own": ({"addresses": ("10.244.9.9",)}, SHOP),
    "no_endpoints": ({"no_endpoints": True}, SHOP),
    "ignore_empty": ({"ignore_empty_service": True}, SHOP),
    "pods_verified": ({"pods": "verified"}, SHOP),
    "pods_disabled": ({"pods": "disabled"}, SHOP),
    "reverse": ({"reverse": REVERSE_NETWORKS, "namespaces": ("shop",)}, REVERSE),
    "zonal": ({"zonal": True}, ZONES),
    "not_zonal": ({}, ZONES),
    "pod_names": ({"endpoint_pod_names": True}, ZONES),
    "fallthrough": ({"fallthrough": (".",)}, SHOP),
    "fallthrough_svc": ({"fallthrough": ("svc.cluster.local",)}, SHOP),
}
"""name -> what is configured otherwise than by default, and the objects."""


def make_zone(name: str) -> Zone:
    """A zone that holds one of the clusters."""
    options, changes = CLUSTERS[name]
    zone = Zone(ZoneConfig(**{"addresses": LISTENING, **options}))
    zone.apply(changes, serial=4711)
    zone.synced = True
    return zone
