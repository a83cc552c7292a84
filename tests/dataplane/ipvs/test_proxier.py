"""The IPVS proxier against the real kernel; ipvsadm, ip and nft are the witnesses. Runs where the kernel has IPVS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from kproxy.dataplane.ipvs import kernel as kernel_module
from kproxy.dataplane.ipvs import probe as probe_module
from kproxy.dataplane.ipvs.ipsets import remove_kube_proxy_sets
from kproxy.dataplane.ipvs.kernel import IpvsKernel, find_ipvs
from kproxy.dataplane.ipvs.leftovers import remove_ipvs
from kproxy.dataplane.ipvs.probe import probe
from kproxy.dataplane.ipvs.start import needs_conn_reuse_mode
from kproxy.dataplane.leftovers import Leftovers
from kproxy.errors import FeatureMissing, KernelError
from kproxy.netlink import ipvs
from kproxy.plan.intent import plan_port
from kproxy.state.addresses import Family, with_port
from kproxy.state.node import NodeInfo
from tests.dataplane.ipvs.node import IPS, Node
from tests.netlink.netns import PrivateNetns
from tests.state.objects import NODE
from tests.state.shorthand import make_endpoints
from tests.uml.needs import needs_ipvs

if TYPE_CHECKING:
    from collections.abc import Iterator

kernel = [pytest.mark.root, pytest.mark.uml, needs_ipvs]
NODE_PORT: dict[str, Any] = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}
SERVED = [
    "-A -t 172.30.0.41:80 -s rr",
    "-A -t [fd00:172:30::41]:80 -s rr",
    "-a -t 172.30.0.41:80 -r 10.180.0.1:8080 -m -w 1",
    "-a -t 172.30.0.41:80 -r 10.180.1.1:8080 -m -w 1",
    "-a -t [fd00:172:30::41]:80 -r [fd00:180:a::1]:8080 -m -w 1",
    "-a -t [fd00:172:30::41]:80 -r [fd00:180:b::1]:8080 -m -w 1",
]
FOREIGN = ["-A -t 192.0.2.1:80 -s wlc", "-A -u 192.168.0.1:53 -s rr", "-a -t 192.0.2.1:80 -r 192.0.2.9:80 -m -w 3"]


@pytest.fixture
def node() -> Iterator[Node]:
    with Node() as made:
        yield made


@pytest.fixture
def serving(node: Node) -> Node:
    node.start()
    node.set_service()
    node.sync()
    return node


def foreign(node: Node) -> None:
    node.netns.tool("ipvsadm", "-R", stdin="".join(f"{line}\n" for line in FOREIGN))


class TestSync:
    pytestmark = kernel

    def test_a_service_comes_and_goes(self, serving: Node) -> None:
        assert serving.servers() == SERVED
        assert serving.vips() == {"172.30.0.41", "fd00:172:30::41"}
        assert serving.tables() == ["table ip kproxy-ipvs", "table ip6 kproxy-ipvs"]
        serving.set_service("-")
        serving.sync()
        assert (serving.servers(), serving.vips()) == ([], set())

    def test_a_restart_on_the_same_state_sends_nothing(self, serving: Node) -> None:
        serving.start()
        serving.set_service()
        assert not any(synced.changed_anything for synced in serving.sync().values())
        assert serving.servers() == SERVED

    def test_what_changed_while_nobody_looked_is_put_right(self, serving: Node) -> None:
        """A new agent finds a Service gone that had a node port, and another with other endpoints."""
        serving.set_service("a1", "ns1/gone", ips=["172.30.0.42", "fd00:172:30::42"], **NODE_PORT)
        serving.sync()
        assert "-A -t 192.168.7.1:30080 -s rr" in serving.servers()
        serving.start()
        serving.set_service("b1 b2")
        serving.sync()
        assert [line for line in serving.servers() if line.startswith("-A")] == SERVED[:2]
        assert "-a -t 172.30.0.41:80 -r 10.180.1.2:8080 -m -w 1" in serving.servers()
        assert not any("10.180.0.1" in line for line in serving.servers())

    def test_an_endpoint_without_connections_is_let_go_at_once_or_at_the_next_look(self, serving: Node) -> None:
        now_s = 1000.0
        for proxier in serving.proxiers.values():
            proxier._clock = lambda: now_s
        serving.set_service("a1 b1 b2")
        serving.sync()
        serving.set_service("a1 b1")
        serving.sync()
        assert serving.servers() == SERVED
        serving.set_service("b1")
        serving.sync()
        assert "-a -t 172.30.0.41:80 -r 10.180.0.1:8080 -m -w 0" in serving.servers(), "the kernel was just asked"
        now_s += 10
        assert serving.intact()
        assert not any("10.180.0.1" in line for line in serving.servers())

    @pytest.mark.parametrize(
        "damage",
        [
            ("ipvsadm", "-C"),
            ("ipvsadm", "-D", "-t", "172.30.0.41:80"),
            ("ipvsadm", "-E", "-t", "172.30.0.41:80", "-s", "lc"),
            ("ip", "address", "delete", "172.30.0.41/32", "dev", "kube-ipvs0"),
            ("ip", "link", "delete", "kube-ipvs0"),
            ("nft", "delete", "table", "ip", "kproxy-ipvs"),
        ],
        ids=" ".join,
    )
    def test_damage_is_noticed_and_repaired(self, serving: Node, damage: tuple[str, ...]) -> None:
        assert serving.intact()
        serving.netns.tool(*damage)
        assert not serving.intact()
        serving.sync(full=True)
        assert serving.servers() == SERVED
        assert serving.vips() == {"172.30.0.41", "fd00:172:30::41"}
        assert serving.intact()

    def test_a_failed_sync_is_made_good_by_the_next_one(self, serving: Node) -> None:
        """The kernel lost a virtual server that gets another endpoint."""
        serving.netns.tool("ipvsadm", "-C")
        serving.set_service("a1 b1 b2")
        with pytest.raises(KernelError):
            serving.sync()
        serving.sync()
        assert "-a -t 172.30.0.41:80 -r 10.180.1.2:8080 -m -w 1" in serving.servers()

    def test_the_scheduler_of_the_annotation(self, serving: Node) -> None:
        serving.set_service(annotations={"kproxy.dev/ipvs-scheduler": "mh"})
        serving.sync()
        assert "-A -t 172.30.0.41:80 -s mh -b mh-port" in serving.servers()
        assert "-a -t 172.30.0.41:80 -r 10.180.0.1:8080 -m -w 1" in serving.servers()

    def test_the_nodes_own_address_is_not_taken(self, serving: Node) -> None:
        serving.set_service(externalIPs=["192.168.0.1", "192.0.2.41"])
        serving.sync()
        assert serving.vips() == {"172.30.0.41", "192.0.2.41", "fd00:172:30::41"}
        assert not any("192.168.0.1:80" in line for line in serving.servers())
        assert "192.168.0.1 is an address of this node" in str(serving.proxiers[Family.IPV4].refused["ns1/svc1"])

    def test_the_nodes_own_ports_are_not_refused_where_a_service_names_its_address(self, serving: Node) -> None:
        """Without endpoints, on the port of SSH: the node must not be cut off."""
        port = {"ports": [{"port": 22}]}
        serving.set_service("", "ns1/ssh", externalIPs=["192.168.0.1"], ips=["172.30.0.42"], **port)
        serving.sync()
        listed = serving.netns.tool("nft", "list", "table", "ip", "kproxy-ipvs")
        assert "172.30.0.42 . tcp . 22" in listed
        assert "192.168.0.1" not in listed

    def test_node_ports_go_with_the_nodes_address_though_all_is_read_back(self, serving: Node) -> None:
        """Whose they are is told by the addresses that the node has, and by what this agent has made itself."""
        ports = {"ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]}
        serving.set_service("a1", "ns1/dns", ips=["172.30.0.42"], type="NodePort", **ports)
        serving.sync()
        assert "-A -u 192.168.7.1:30080 -s rr" in serving.servers()
        proxier = serving.proxiers[Family.IPV4]
        proxier.configure(NodeInfo(NODE, zone="z1", ips=dict(IPS)), ("127.0.0.1", "192.168.0.1"))
        serving.sync(full=True)
        assert not any("192.168.7.1" in line for line in serving.servers())
        assert "-A -u 192.168.0.1:30080 -s rr" in serving.servers()

    @pytest.mark.parametrize("ip", ["224.1.1.1", "255.255.255.255", "ff0e::1"])
    def test_an_endpoint_that_the_kernel_does_not_take_harms_no_other_service(self, serving: Node, ip: str) -> None:
        """The API server takes it, from whoever may write EndpointSlices in some namespace."""
        family = Family.IPV6 if ":" in ip else Family.IPV4
        (odd,) = make_endpoints("a1", family)
        unfit = msgspec.structs.replace(odd, address=with_port(ip, odd.port), ip=ip)
        serving.set_service("b1", "ns1/odd", ips=[{Family.IPV4: "172.30.0.42", Family.IPV6: "fd00::42"}[family]])
        proxier = serving.proxiers[family]
        (intent,) = proxier.servers._intents["ns1/odd"]
        proxier.set_service("ns1/odd", [plan_port(intent.port, (odd, unfit), NodeInfo(NODE))], 0)
        serving.set_service("a1")
        serving.sync()
        assert serving.servers() == [line for line in SERVED if "10.180.1.1" not in line and "b::1" not in line]
        refused = str(proxier.refused["ns1/odd"])
        assert refused.startswith(f"Service ns1/odd: add {unfit.address} of TCP ")
        assert refused.endswith("the kernel finds the request invalid (EINVAL); skipped")
        assert serving.intact()

    def test_an_address_that_can_be_no_vip_harms_no_other_service(self, serving: Node) -> None:
        serving.set_service("b1", "ns1/odd", externalIPs=["ff0e::1"], ips=["fd00::42"])
        serving.set_service("a1")
        serving.sync()
        assert serving.vips() == {"172.30.0.41", "fd00:172:30::41"}
        assert not any("42" in line for line in serving.servers())
        assert "add the address ff0e::1" in str(serving.proxiers[Family.IPV6].refused["ns1/odd"])
        serving.set_service("b1", "ns1/odd", ips=["fd00::42"])
        serving.sync()
        assert "fd00::42" in serving.vips()

    def test_two_services_change_their_node_ports(self, serving: Node) -> None:
        """In one sync, and whichever is entered first."""
        for first, second in ((30080, 30081), (30081, 30080), (30080, 30081)):
            for key, endpoint, port in (("ns1/one", "a1", first), ("ns1/two", "b1", second)):
                ips = ["172.30.0.42"] if endpoint == "a1" else ["172.30.0.43"]
                spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}
                serving.set_service(endpoint, key, ips=ips, **spec)
            serving.sync()
            at = "-a -t 192.168.0.1:"
            used = [line for line in serving.servers() if line.startswith(at) and line.endswith("-w 1")]
            ends = sorted([f"{at}{first} -r 10.180.0.1:8080 -m -w 1", f"{at}{second} -r 10.180.1.1:8080 -m -w 1"])
            assert used == ends

    def test_a_vip_that_another_link_has_stays_there(self, serving: Node) -> None:
        serving.set_service(externalIPs=["192.168.7.1"])
        serving.sync()
        assert serving.vips() == {"172.30.0.41", "fd00:172:30::41"}
        assert "-A -t 192.168.7.1:80 -s rr" in serving.servers()
        listed = serving.netns.tool("nft", "list", "set", "ip", "kproxy-ipvs", "ipvs-ips")
        assert "192.168.7.1" not in listed, "its other ports stay open"


class TestReading:
    pytestmark = kernel

    def test_the_file_says_what_netlink_says(self, serving: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        foreign(serving)
        serving.set_service("a1 a2", "ns1/web", ips=["172.30.0.42", "fd00:172:30::42"], **NODE_PORT)
        serving.sync()
        for family in Family:
            kernel = IpvsKernel(family, serving.netns.run(find_ipvs))
            by_file = serving.netns.run(kernel.read)
            with monkeypatch.context() as patch:
                patch.setattr(kernel_module, "LISTING", Path("/no/such/file"))
                by_netlink = serving.netns.run(kernel.read)
            assert by_file == by_netlink
            assert len(by_file.destinations) >= 4

    @pytest.mark.parametrize("count", [400])
    def test_virtual_servers_of_other_namespaces_hide_none(self, serving: Node, count: int) -> None:
        """They make the kernel's file skip some of ours."""
        lines = "".join(f"-A -t 198.51.{n >> 8}.{n & 255}:80 -s rr\n" for n in range(count))
        for n in range(count):
            serving.set_service("a1", f"ns1/s{n}", ips=[f"172.31.{n >> 8}.{n & 255}", f"fd00:172:31::{n:x}"])
        with PrivateNetns() as other:
            other.tool("ipvsadm", "-R", stdin=lines)
            serving.sync()
            serving.start()
            serving.set_service()
            for n in range(count):
                serving.set_service("a1", f"ns1/s{n}", ips=[f"172.31.{n >> 8}.{n & 255}", f"fd00:172:31::{n:x}"])
            assert not any(synced.changed_anything for synced in serving.sync().values())


class TestForeign:
    pytestmark = kernel

    def test_they_are_never_touched(self, node: Node) -> None:
        foreign(node)
        node.start()
        node.set_service()
        node.sync()
        assert set(FOREIGN) < set(node.servers())
        node.set_service("-")
        node.sync(full=True)
        assert node.servers() == sorted(FOREIGN)
        node.netns.run(lambda: list(remove_ipvs()))
        assert node.servers() == sorted(FOREIGN)

    def test_a_virtual_server_of_a_vip_is_ours(self, serving: Node) -> None:
        """As kube-proxy leaves them."""
        serving.netns.tool("ipvsadm", "-A", "-t", "172.30.0.41:99", "-s", "rr")
        serving.sync(full=True)
        assert serving.servers() == SERVED

    def test_but_not_where_it_is_excluded(self, serving: Node) -> None:
        serving.netns.tool("ipvsadm", "-A", "-t", "172.30.0.41:99", "-s", "rr")
        serving.start(ipvs_exclude_cidrs=("172.30.0.0/16",))
        serving.set_service()
        serving.sync(full=True)
        assert "-A -t 172.30.0.41:99 -s rr" in serving.servers()

    def test_clean_up(self, serving: Node) -> None:
        foreign(serving)
        serving.set_service("a1", "ns1/web", ips=["172.30.0.42", "fd00:172:30::42"], **NODE_PORT)
        serving.sync()
        assert serving.netns.run(lambda: list(remove_ipvs())) == [
            "4 IPv4 virtual servers",
            "3 IPv6 virtual servers",
            "the link kube-ipvs0",
            "table ip kproxy-ipvs",
            "table ip6 kproxy-ipvs",
        ]
        assert serving.servers() == sorted(FOREIGN)
        assert serving.tables() == []
        assert serving.netns.run(lambda: list(remove_ipvs())) == []

    def test_clean_up_leaves_what_is_excluded(self, serving: Node) -> None:
        serving.netns.run(lambda: list(remove_ipvs(("172.30.0.0/16",))))
        assert serving.servers() == [line for line in SERVED if "fd00" not in line]


KUBE_PROXY = """\
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
add KUBE-NODE-PORT-TCP 30080
create KUBE-NODE-PORT-SCTP-HASH hash:ip,port
add KUBE-NODE-PORT-SCTP-HASH 192.168.0.1,sctp:30080
create KUBE-6-NODE-PORT-UDP bitmap:port range 0-65535
add KUBE-6-NODE-PORT-UDP 30080
create KUBE-EXTERNAL-IP hash:ip,port
add KUBE-EXTERNAL-IP 192.168.7.1,tcp:80
create foreign hash:ip
"""
ITS_SERVERS = [
    "-A --sctp-service 192.168.0.1:30080 -s rr",
    "-A -t 172.30.0.99:80 -s rr",
    "-A -t 192.168.0.1:30080 -s rr",
    "-A -t 192.168.7.1:80 -s rr",
    "-A -t 192.168.7.1:30080 -s rr",
    "-A -u [fd00:192:168::1]:30080 -s rr",
]
NOT_ITS = [
    "-A -t 192.168.0.1:30081 -s rr",
    "-A -t 192.168.7.1:81 -s rr",
    "-A -t 192.168.7.9:30080 -s rr",
    "-A -t [fd00:192:168::1]:30080 -s rr",
    "-A -u 192.168.0.1:30080 -s rr",
]


class TestKubeProxy:
    """What kube-proxy's IPVS mode leaves: its ipsets say which virtual servers of the node's addresses are its own."""

    pytestmark = kernel

    @pytest.fixture
    def left(self, node: Node) -> Node:
        node.netns.tool("ipset", "restore", stdin=KUBE_PROXY)
        node.netns.tool("ip", "link", "add", "kube-ipvs0", "type", "dummy")
        node.netns.tool("ip", "address", "add", "172.30.0.99/32", "dev", "kube-ipvs0")
        node.netns.tool("ipvsadm", "-R", stdin="".join(f"{line}\n" for line in ITS_SERVERS + NOT_ITS))
        return node

    def test_ipvs_mode_takes_its_place(self, left: Node) -> None:
        left.start()
        left.set_service()
        left.sync()
        assert left.servers() == sorted(SERVED + NOT_ITS)
        assert not left.netns.run(Leftovers("ipvs").remove)
        assert left.netns.tool("ipset", "-n", "list").split() == ["foreign"]

    @pytest.mark.parametrize("mode", ["nftables", "iptables"])
    def test_other_modes_do(self, left: Node, mode: str, caplog: pytest.LogCaptureFixture) -> None:
        rules = "*filter\n:KUBE-NODE-PORT - [0:0]\n-A INPUT -j KUBE-NODE-PORT\n-A KUBE-NODE-PORT -p tcp -m set"
        rules += " --match-set KUBE-NODE-PORT-TCP dst -j ACCEPT\nCOMMIT\n"
        left.netns.tool("iptables-nft-restore", "--noflush", stdin=rules)
        caplog.set_level("INFO")
        assert not left.netns.run(Leftovers(mode).remove)
        assert left.servers() == sorted(NOT_ITS)
        assert "kube-ipvs0" not in left.netns.tool("ip", "link", "show")
        assert "KUBE-" not in left.netns.tool("iptables-nft-save")
        assert left.netns.tool("ipset", "-n", "list").split() == ["foreign"]
        assert [record.getMessage().removeprefix("took over from another proxy: ") for record in caplog.records] == [
            "removed 5 IPv4 virtual servers",
            "removed 1 IPv6 virtual servers",
            "removed the link kube-ipvs0",
            "removed 1 IPv4 chains of iptables (nft)",
            "removed 4 ipsets",
        ]

    def test_clean_up(self, left: Node) -> None:
        told = left.netns.tool(sys.executable, "-m", "kproxy", "cleanup").splitlines()
        assert "4 ipsets removed" in told
        assert left.servers() == sorted(NOT_ITS)
        assert left.netns.tool("ipset", "-n", "list").split() == ["foreign"]

    def test_a_set_that_others_use_is_named(self, left: Node) -> None:
        left.netns.tool(
            *("iptables-nft", "-A", "FORWARD", "-m", "set", "--match-set", "KUBE-NODE-PORT-TCP", "dst", "-j", "ACCEPT")
        )
        with pytest.raises(KernelError, match="rules of somebody else use the ipsets KUBE-NODE-PORT-TCP"):
            left.netns.run(lambda: list(remove_kube_proxy_sets()))
        assert left.netns.tool("ipset", "-n", "list").split() == ["KUBE-NODE-PORT-TCP", "foreign"]


class TestProbe:
    pytestmark = kernel

    def test_it_leaves_nothing_but_the_link(self, node: Node) -> None:
        probed = node.netns.run(lambda: probe("rr"))
        assert (probed.ipv6, probed.unsupported) == (True, {})
        assert (node.servers(), node.vips()) == ([], set())

    def test_timeouts_and_sysctls(self, node: Node) -> None:
        node.start(ipvs_tcp_timeout=800.0, ipvs_udp_timeout=90.0, ipvs_strict_arp=True)
        assert "800 120 90" in node.netns.tool("ipvsadm", "-Ln", "--timeout")
        for name, value in (
            ("ipv4.vs.conntrack", 1),
            ("ipv4.vs.expire_nodest_conn", 1),
            ("ipv4.vs.expire_quiescent_template", 1),
            ("ipv4.ip_forward", 1),
            ("ipv4.conf.all.arp_ignore", 1),
            ("ipv4.conf.all.arp_announce", 2),
        ):
            assert node.netns.tool("sysctl", "-n", f"net.{name}").strip() == str(value), name

    def test_a_scheduler_that_the_kernel_lacks_is_named_with_those_it_has(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(probe_module, "IPVS_SCHEDULERS", ("rr", "sh", "nosuch"))
        with pytest.raises(FeatureMissing) as caught:
            node.netns.run(lambda: probe("nosuch"))
        assert str(caught.value) == (
            "--ipvs-scheduler: this kernel has no IPVS scheduler nosuch - load the module ip_vs_nosuch, "
            "or use one that it has: rr, sh"
        )
        assert node.servers() == []

    def test_a_service_whose_scheduler_the_kernel_lacks_is_left_out(self, serving: Node) -> None:
        """The others go on; the same Service is tried again when it changes."""
        requests = ipvs.IpvsRequests.add_server

        def lacking(self: ipvs.IpvsRequests, server: Any, how: Any) -> Any:
            return requests(self, server, how if how.scheduler != "fo" else type(how)("nosuch"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ipvs.IpvsRequests, "add_server", lacking)
            other: dict[str, Any] = {"key": "ns1/odd", "ips": ["172.30.0.42", "fd00:172:30::42"]}
            serving.set_service(**other, annotations={"kproxy.dev/ipvs-scheduler": "fo"})
            serving.sync()
        assert serving.servers() == SERVED
        assert "has no IPVS scheduler" in str(serving.proxiers[Family.IPV4].refused["ns1/odd"])
        serving.set_service(**other)
        serving.sync()
        assert "-A -t 172.30.0.42:80 -s rr" in serving.servers()


@pytest.mark.parametrize(
    ("release", "needed"),
    [
        ("3.10.0-1160.el7.x86_64", False),
        ("4.0.9", False),
        ("4.1.0", True),
        ("5.4.0-88-generic", True),
        ("5.8.18", True),
        ("5.9.0", False),
        ("6.12.117", False),
        ("unknown", False),
    ],
)
def test_which_kernels_need_conn_reuse_mode(release: str, needed: bool) -> None:
    assert needs_conn_reuse_mode(release) is needed


@pytest.mark.root
@pytest.mark.skipif(not needs_ipvs.args[0], reason="this kernel has IPVS")
def test_a_kernel_without_ipvs_is_told_in_one_line() -> None:
    with PrivateNetns() as netns, pytest.raises(FeatureMissing) as caught:
        netns.run(lambda: probe("rr"))
    assert str(caught.value) == (
        "--proxy-mode ipvs: this kernel has no IPVS - load the module ip_vs, or use --proxy-mode nftables or iptables"
    )
