"""A node in a network namespace of its own, with IPVS proxiers on it and ipvsadm, ip and nft as witnesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from kproxy.config import build_config
from kproxy.dataplane.ipvs.start import start_ipvs
from kproxy.errors import KernelError
from kproxy.plan.intent import plan_port
from kproxy.state.addresses import Family
from kproxy.state.node import NodeInfo
from kproxy.state.service_parser import parse_service
from tests.netlink.netns import PrivateNetns
from tests.state.objects import NODE, service
from tests.state.shorthand import make_endpoints

if TYPE_CHECKING:
    from types import TracebackType

    from kproxy.config import Config
    from kproxy.dataplane.ipvs.proxier import IpvsProxier
    from kproxy.dataplane.mode import Synced

IPS = {Family.IPV4: "192.168.0.1", Family.IPV6: "fd00:192:168::1"}
CLUSTER_IPS = {Family.IPV4: "172.30.0.41", Family.IPV6: "fd00:172:30::41"}


def config(**values: Any) -> Config:
    quiet = {
        "conntrack_max_per_core": 0,
        "conntrack_tcp_timeout_established": 0.0,
        "conntrack_tcp_timeout_close_wait": 0.0,
    }
    return build_config({"hostname_override": NODE, "proxy_mode": "ipvs", **quiet, **values})


class Node:
    """`proxiers` are by family, after `start`."""

    def __init__(self) -> None:
        self.netns = PrivateNetns()
        self.proxiers: dict[Family, IpvsProxier] = {}

    def __enter__(self) -> Self:
        self.netns.__enter__()
        self.netns.tool("ip", "link", "add", "eth0", "type", "dummy")
        for ip in ("192.168.0.1/24", "192.168.7.1/24"):
            self.netns.tool("ip", "address", "add", ip, "dev", "eth0")
        self.netns.tool("ip", "address", "add", "fd00:192:168::1/64", "dev", "eth0", "nodad")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.netns.__exit__(kind, error, trace)

    def stop(self) -> None:
        """The agent ends; what it wrote stays."""
        for proxier in self.proxiers.values():
            proxier.filter.close()
            if proxier.filter.watch is not None:
                proxier.filter.watch.close()

    def start(self, **values: Any) -> None:
        """A fresh agent's proxiers, configured; nothing is synced yet."""
        self.stop()
        made = self.netns.run(lambda: start_ipvs(config(**values)))
        self.proxiers = {proxier.family: proxier for proxier in made}
        node = NodeInfo(NODE, zone="z1", ips=dict(IPS))
        local = {Family.IPV4: ("127.0.0.1", "192.168.0.1", "192.168.7.1"), Family.IPV6: ("::1", "fd00:192:168::1")}
        for family, proxier in self.proxiers.items():
            proxier.configure(node, local[family])

    def set_service(self, endpoints: str = "a1 b1", key: str = "ns1/svc1", **spec: Any) -> None:
        """Enter a Service in both families; `endpoints` None in words: "-" removes it."""
        ips = [CLUSTER_IPS[family] for family in self.proxiers]
        parsed = parse_service(service(key, **{"ips": ips, **spec})).ports
        node = NodeInfo(NODE, zone="z1", ips=dict(IPS))
        for family, proxier in self.proxiers.items():
            found = make_endpoints("" if endpoints == "-" else endpoints, family)
            intents = [plan_port(port, found, node) for port in parsed.get(family, ())]
            proxier.set_service(key, () if endpoints == "-" else intents, 0)

    def sync(self, *, full: bool = False) -> dict[Family, Synced]:
        """Sync both families; what one of them raises is raised after the other had its turn."""
        done: dict[Family, Synced] = {}
        failures: list[KernelError] = []
        for family, proxier in self.proxiers.items():
            try:
                done[family] = self.netns.run(lambda proxier=proxier: proxier.sync(full=full))  # type: ignore[misc]
            except KernelError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return done

    def intact(self) -> bool:
        return all(self.netns.run(proxier.intact) for proxier in self.proxiers.values())

    def servers(self) -> list[str]:
        """The lines of ipvsadm, sorted."""
        return sorted(self.netns.tool("ipvsadm", "-Sn").splitlines())

    def vips(self) -> set[str]:
        """The addresses of the VIP link."""
        listed = self.netns.tool("ip", "-o", "address", "show", "dev", "kube-ipvs0").splitlines()
        return {line.split()[3].split("/")[0] for line in listed}

    def tables(self) -> list[str]:
        return self.netns.tool("nft", "list", "tables").splitlines()
