"""Builds the plan: namespaces, links, addresses, routes and the settings that otherwise look like proxy faults.

An underlay bridge in a namespace of its own joins nodes, clients and the world. Pods hang on their node by routed
veths, without a bridge: bridged pod-to-pod replies pass conntrack by. Every link is made inside the lab's namespaces,
so the host sees none of them. All through pyroute2, from a thread inside each namespace.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tests.lab.addresses import FAMILIES, POD_GATEWAY, UNDERLAY_PREFIX, VIRTUAL_RANGES, pod_subnet
from tests.lab.namespace import Namespace

if TYPE_CHECKING:
    from tests.lab.addresses import Family, Host, Plan
    from tests.lab.run import Run

UNDERLAY = "underlay"
HOST_PREFIX: dict[Family, int] = {"ipv4": 32, "ipv6": 128}
IFA_F_NODAD = 0x02
FOREVER = 0xFFFFFFFF
SCOPE_LINK, SCOPE_HOST = 253, 254

EVERYWHERE: dict[str, str | int] = {
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/all/accept_dad": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/all/accept_ra": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    # IPv6 has no switch for sending redirects: a node tells neighbours of the shorter way past it, and half of every
    # connection is then hidden from its conntrack.
    "net/ipv6/conf/all/accept_redirects": 0,
    "net/ipv6/conf/default/accept_redirects": 0,
    "net/ipv4/conf/all/accept_redirects": 0,
    "net/ipv4/conf/default/accept_redirects": 0,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    # No kind of ICMP is limited, neither per destination nor, 50 at once, in all: a datagram is refused once or never.
    "net/ipv4/icmp_ratemask": 0,
    "net/ipv6/icmp/ratemask": "\n",
    # Many source ports, for a lab that reuses addresses all the time, but none on which one of its servers listens:
    # node ports are from 30000 to 32767, health check node ports below.
    "net/ipv4/ip_local_port_range": "32768 64999",
}
FORWARDING: dict[str, str | int] = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/send_redirects": 0,
    "net/ipv4/conf/default/send_redirects": 0,
}
#: The world answers for addresses that are not its own, and from them.
ANY_ADDRESS: dict[str, str | int] = {"net/ipv4/ip_nonlocal_bind": 1, "net/ipv6/ip_nonlocal_bind": 1}
NO_BRIDGE_FILTER: dict[str, str | int] = {
    f"net/bridge/bridge-nf-call-{tables}": 0 for tables in ("iptables", "ip6tables", "arptables")
}


def build(run: Run, plan: Plan) -> dict[str, Namespace]:
    """Make everything in `plan`; returns the namespace of every host by name, the underlay's included."""
    namespaces = {name: Namespace(run, name) for name in (UNDERLAY, *(host.name for host in plan.hosts))}
    namespaces[UNDERLAY].sysctl(EVERYWHERE | NO_BRIDGE_FILTER)
    for host in plan.hosts:
        settings = dict(EVERYWHERE)
        if host.kind == "node":
            settings |= FORWARDING
        elif host.kind == "world":
            settings |= ANY_ADDRESS
        namespaces[host.name].sysctl(settings)

    for host in plan.of_kind("node", "client", "world"):
        namespaces[host.name].call(lambda h=host: _underlay_host(h, plan, namespaces))  # type: ignore[misc]
    for host in plan.of_kind("pod"):
        namespaces[host.node].call(lambda h=host: _pod_link(h, namespaces))  # type: ignore[misc]
        namespaces[host.name].call(lambda h=host: _pod(h))  # type: ignore[misc]
    namespaces[UNDERLAY].call(_bridge)
    return namespaces


def pod_interface(pod: str) -> str:
    """The name of the node's end of a pod's link."""
    return f"pod-{pod}"


def add_address(namespace: Namespace, interface: str, family: Family, address: str) -> None:
    """One more address on an interface, as a /32 or /128 that is never chosen as a source by itself."""

    def add() -> None:
        with IPRoute() as links:
            index = links.link_lookup(ifname=interface)[0]
            _address(links, index, family, address, HOST_PREFIX[family], preferred=False)

    namespace.call(add)


def _bridge() -> None:
    with IPRoute() as links:
        links.link("add", ifname="br0", kind="bridge", br_mcast_snooping=0)
        bridge = links.link_lookup(ifname="br0")[0]
        for link in links.get_links():
            if link["index"] != bridge and link.get("ifname") != "lo" and link.get_nested("linkinfo", "kind") == "veth":
                links.link("set", index=link["index"], master=bridge, state="up")
        links.link("set", index=bridge, state="up")


def _underlay_host(host: Host, plan: Plan, namespaces: dict[str, Namespace]) -> None:
    with IPRoute() as links:
        _up(links, "lo")
        links.link(
            "add",
            ifname="eth0",
            kind="veth",
            peer={"ifname": f"to-{host.name}"[:15], "net_ns_fd": str(namespaces[UNDERLAY].path)},
        )
        index = _up(links, "eth0")
        for family in FAMILIES:
            for i, address in enumerate(host.addresses[family]):
                _address(links, index, family, address, UNDERLAY_PREFIX[family], preferred=i == 0)
        _underlay_routes(links, index, host, plan)


def _underlay_routes(links: Any, index: int, host: Host, plan: Plan) -> None:
    """Pod ranges by their nodes, virtual ranges by the node under test, the rest by the world, which answers for it."""
    (world,) = plan.of_kind("world")
    under_test = plan.host(plan.node_under_test)
    for family in FAMILIES:
        for number, node in enumerate(plan.of_kind("node"), start=1):
            if node is not host:
                links.route("add", dst=pod_subnet(number, family), gateway=node.primary(family), oif=index)
        if host is world:
            for ranges in VIRTUAL_RANGES:
                links.route("add", type="local", table=255, dst=ranges[family], oif=1, scope=SCOPE_HOST)
            # Replies to clients go back through the node, or its conntrack would see one half of every connection.
            for client in plan.of_kind("client"):
                for address in client.addresses[family]:
                    way = {"gateway": under_test.primary(family), "oif": index}
                    links.route("add", dst=f"{address}/{HOST_PREFIX[family]}", **way)
            continue
        if host is not under_test:
            for ranges in VIRTUAL_RANGES:
                links.route("add", dst=ranges[family], gateway=under_test.primary(family), oif=index)
        links.route("add", dst=_everything(family), gateway=world.primary(family), oif=index)


def _pod_link(pod: Host, namespaces: dict[str, Namespace]) -> None:
    """The node's end of a pod's link: the pod's next hop, and one host route for each of its addresses."""
    interface = pod_interface(pod.name)
    with IPRoute() as links:
        peer = {"ifname": "eth0", "net_ns_fd": str(namespaces[pod.name].path)}
        links.link("add", ifname=interface, kind="veth", peer=peer)
        index = _up(links, interface)
        _address(links, index, "ipv6", POD_GATEWAY["ipv6"], 64)
        for family in FAMILIES:
            for address in pod.addresses[family]:
                links.route("add", dst=f"{address}/{HOST_PREFIX[family]}", oif=index)
    # A proxied ARP answer is delayed by up to 0.8 s unless told otherwise.
    settings = {f"net/ipv4/conf/{interface}/proxy_arp": 1, f"net/ipv4/neigh/{interface}/proxy_delay": 0}
    namespaces[pod.node].sysctl(settings)


def _pod(pod: Host) -> None:
    with IPRoute() as links:
        _up(links, "lo")
        index = _up(links, "eth0")
        for family in FAMILIES:
            for i, address in enumerate(pod.addresses[family]):
                _address(links, index, family, address, HOST_PREFIX[family], preferred=i == 0)
        links.route("add", dst=f"{POD_GATEWAY['ipv4']}/32", oif=index, scope=SCOPE_LINK)
        for family in FAMILIES:
            links.route("add", dst=_everything(family), gateway=POD_GATEWAY[family], oif=index)


def _everything(family: Family) -> str:
    return "0.0.0.0/0" if family == "ipv4" else "::/0"


def _up(links: Any, interface: str) -> int:
    index: int = links.link_lookup(ifname=interface)[0]
    links.link("set", index=index, state="up")
    return index


def _address(links: Any, index: int, family: Family, address: str, prefix: int, *, preferred: bool = True) -> None:
    """Add an address, usable at once. One that is not preferred is a source only for those who bind to it."""
    options: dict[str, Any] = {"index": index, "address": address, "prefixlen": prefix}
    if family == "ipv6":
        options["flags"] = IFA_F_NODAD
        if not preferred:
            options["IFA_CACHEINFO"] = {"ifa_preferred": 0, "ifa_valid": FOREVER}
    try:
        links.addr("add", **options)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
