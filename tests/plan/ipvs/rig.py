"""Services in a few words for IPVS, and a kernel that is a few dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kproxy.plan.intent import plan_port
from kproxy.plan.ipvs.frontends import IpvsSettings
from kproxy.plan.ipvs.servers import IpvsServers
from kproxy.state.addresses import Family
from kproxy.state.node import NodeInfo
from kproxy.state.service_parser import parse_service
from tests.state.objects import NODE, service
from tests.state.shorthand import make_endpoints

if TYPE_CHECKING:
    from kproxy.plan.intent import PortIntent
    from kproxy.plan.ipvs.server import Destination, Scheduling, VirtualServer
    from kproxy.plan.ipvs.servers import IpvsDifference

NODE_IP, SECOND_IP = "192.168.0.1", "192.168.7.1"
SETTINGS = IpvsSettings("rr", node_ips=(NODE_IP,), node_port_ips=(NODE_IP, SECOND_IP))


def intents(endpoints: str = "a1 b1", *, name: str = "ns1/svc1", **spec: Any) -> tuple[PortIntent, ...]:
    """The plan of a Service of tests/state/objects.py with these endpoints, in IPv4."""
    ports = parse_service(service(name, **spec)).ports[Family.IPV4]
    return tuple(plan_port(port, make_endpoints(endpoints), NodeInfo(NODE, zone="z1")) for port in ports)


class FakeKernel:
    """What IPVS and the VIP link hold. It refuses what the real ones refuse."""

    def __init__(self) -> None:
        self.servers: dict[VirtualServer, Scheduling] = {}
        self.destinations: dict[Destination, int] = {}
        self.addresses: set[str] = set()

    def apply(self, difference: IpvsDifference) -> None:
        for server, how in difference.add_servers.items():
            assert server not in self.servers
            self.servers[server] = how
        for server, how in difference.set_servers.items():
            assert server in self.servers
            self.servers[server] = how
        for destination, weight in difference.add_destinations.items():
            assert destination not in self.destinations
            assert destination.server in self.servers
            self.destinations[destination] = weight
        for destination, weight in difference.set_destinations.items():
            assert destination in self.destinations
            self.destinations[destination] = weight
        for ip in difference.add_addresses:
            assert ip not in self.addresses
            self.addresses.add(ip)
        for ip in difference.delete_addresses:
            self.addresses.remove(ip)
        for destination in difference.delete_destinations:
            del self.destinations[destination]
        for server in difference.delete_servers:
            del self.servers[server]
            for destination in [one for one in self.destinations if one.server == server]:
                del self.destinations[destination]

    def sync(self, plan: IpvsServers) -> IpvsDifference:
        """One sync, as the proxier does it."""
        difference = plan.difference()
        self.apply(difference)
        plan.applied(difference)
        assert not plan.difference()
        return difference

    def read_into(self, plan: IpvsServers) -> None:
        plan.read_back(self.servers, self.destinations, self.addresses)

    def listed(self) -> list[str]:
        """Lines like those of ipvsadm -Sn, sorted."""
        lines = [f"-A {server} -s {how.scheduler}" for server, how in self.servers.items()]
        lines += [f"-a {d.server} -r {d.ip}:{d.port} -w {weight}" for d, weight in self.destinations.items()]
        return sorted(lines)


C = "172.30.0.41"
ENDPOINT = {"ns1/svc0": "10.180.0.1", "ns1/svc1": "10.180.1.1", "ns1/svc2": "10.180.0.2"}


def entered(kernel: FakeKernel, endpoints: str = "a1 b1", **spec: Any) -> IpvsServers:
    plan = IpvsServers(SETTINGS)
    plan.set_service("ns1/svc1", intents(endpoints, **spec))
    kernel.sync(plan)
    return plan


def count(kernel: FakeKernel, plan: IpvsServers, now_s: float, connections: int = 0) -> bool:
    """One look at the kernel, if it is due."""
    due = plan.drain.due(now_s)
    counted = {destination: connections for destination in kernel.destinations if destination.server in due}
    plan.drained(plan.drain.looked(now_s, due, counted)) if due else None
    kernel.sync(plan)
    return bool(due)


def at_node_port(key: str, node_port: int, protocol: str = "TCP") -> tuple[PortIntent, ...]:
    """One of three Services, with one endpoint of its own, at a node port."""
    number = int(key[-1])
    ports = [{"port": 80, "nodePort": node_port, "protocol": protocol}]
    cluster_ip = f"172.30.0.{number + 41}"
    return intents(("a1", "b1", "a2")[number], name=key, type="NodePort", clusterIP=cluster_ip, ports=ports)
