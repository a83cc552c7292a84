"""The lab itself: what it builds works, what it reports is true, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab import CLUSTER_IPS, FAMILIES, Cluster, Family, Outcome, Probe, numbered, sweep
from tests.lab.agent import eventually
from tests.lab.httpget import get
from tests.lab.rawpacket import RST, SYN, TCP, UDP, Segment, Sniffer, hardware_address, send
from tests.lab.run import NETNS, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.probe import Protocol

pytestmark = pytest.mark.root
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")
family_wise = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


def host_state() -> dict[str, str]:
    """What the lab must not change: addresses, routes, links, and both worlds of rules."""
    commands = (
        "ip -o addr",
        "ip route show table all",
        "ip -o link",
        "nft list ruleset",
        "iptables-legacy-save",
        "sysctl net.ipv4.ip_forward",
    )
    state = {}
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True)
        lines = (line for line in done.stdout.splitlines() if not line.startswith("#"))
        state[command] = "\n".join(line.split(" valid_lft")[0] for line in lines)
    return state


def leftovers(name: str) -> list[str]:
    found = [path.name for path in NETNS.iterdir()] if NETNS.is_dir() else []
    return [entry for entry in (*found, *(path.name for path in RUNS.iterdir())) if entry.startswith(name)]


# --- what it builds -------------------------------------------------------------------------------------------


@family_wise
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("source", "target"),
    [("pa", "a1"), ("pa", "b1"), ("b2", "a1"), ("pa", "pa"), ("client", "a1"), ("node-a", "b1"), ("node-b", "a2")],
)
def test_everybody_reaches_a_pod_and_is_seen_as_it_is(
    cluster: Cluster, family: Family, protocol: Protocol, source: str, target: str
) -> None:
    report = cluster.probe(Probe(source, cluster.address(target, family), 8080, protocol, count=3))
    assert report.share() == {target: 3}, str(report)
    assert report.seen_by(target) == {cluster.address(source, family)}
    assert {(answer.at, answer.at_port) for answer in report.answers} == {(cluster.address(target, family), 8080)}


@family_wise
def test_a_source_address_and_port_can_be_chosen(cluster: Cluster, family: Family) -> None:
    spare = cluster.address("pa", family, 3)
    probe = Probe("pa", cluster.address("b1", family), 8080, "udp", source_address=spare, source_port=4711)
    (answer,) = cluster.probe(probe).answers
    assert (answer.seen, answer.seen_port) == (spare, 4711)


@family_wise
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_port_refuses(cluster: Cluster, family: Family, protocol: Protocol) -> None:
    probe = Probe("pa", cluster.address("a1", family), 9, protocol, count=2, timeout_s=0.9)
    assert cluster.probe(probe).outcomes == {Outcome.REFUSED}


@family_wise
def test_many_refusals_at_once_are_all_told(cluster: Cluster, family: Family) -> None:
    probe = Probe("client", cluster.address("node-a", family), 9, "udp", count=400, parallel=400, give_up_after=400)
    report = cluster.probe(probe)
    assert report.outcomes == {Outcome.REFUSED}, str(report)


@family_wise
@pytest.mark.parametrize("source", ["pa", "client", "node-a"])
def test_what_nobody_handles_reaches_the_world_unchanged(cluster: Cluster, family: Family, source: str) -> None:
    address = numbered(CLUSTER_IPS, family, 0, 17)
    (tcp,), (udp,) = (cluster.probe(Probe(source, address, 80, p)).answers for p in PROTOCOLS)
    assert tcp.who == udp.who == "world"
    assert tcp.at == udp.at == address
    assert tcp.seen == udp.seen == cluster.address(source, family)


@family_wise
@pytest.mark.parametrize("source", ["pa", "client"])
def test_rules_of_the_node_are_what_a_flow_meets(cluster: Cluster, family: Family, source: str) -> None:
    """Hand-written rules: DNAT, masquerade (hairpin too), drop, a reset at once, and ICMPv6, which takes a second."""
    tables = "iptables-legacy" if family == "ipv4" else "ip6tables-legacy"
    vip, pod, node = (
        numbered(CLUSTER_IPS, family, 0, 99),
        cluster.address("pa", family),
        cluster.address("node-a", family),
    )
    target = f"{pod}:8080" if family == "ipv4" else f"[{pod}]:8080"
    rules = [
        f"-t nat -A PREROUTING -d {vip} -p tcp --dport 80 -j DNAT --to-destination {target}",
        f"-t nat -A POSTROUTING -d {pod} -j MASQUERADE",
        f"-A FORWARD -d {vip} -p tcp --dport 81 -j DROP",
        f"-A FORWARD -d {vip} -p tcp --dport 82 -j REJECT --reject-with tcp-reset",
        f"-A FORWARD -d {vip} -p udp --dport 82 -j REJECT",
    ]
    try:
        for rule in rules:
            cluster.node.run(tables, *rule.split())
        probes = [Probe(source, vip, 80, count=4), Probe(source, vip, 81, timeout_s=0.3)]
        probes += [Probe(source, vip, 82, "tcp", timeout_s=0.9), Probe(source, vip, 82, "udp", timeout_s=0.9)]
        dnat, dropped, reset, unreachable = cluster.probe_all(probes)
    finally:
        cluster.node.run(tables, "-F")
        cluster.node.run(tables, "-t", "nat", "-F")
    assert (dnat.who, dnat.seen_by("pa")) == ({"pa"}, {node}), str(dnat)
    assert dropped.outcomes == {Outcome.TIMEOUT}
    assert reset.outcomes == unreachable.outcomes == {Outcome.REFUSED}


@family_wise
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_conversation_stays_open(cluster: Cluster, family: Family, protocol: Protocol) -> None:
    with cluster.hold("pa", cluster.address("b1", family), 8080, protocol) as held:
        assert [held.opened.who, held.ask("again").who] == ["b1", "b1"]
        port = held.opened.seen_port
        assert held.ask("and again").seen_port == port


def test_one_server_can_be_stopped_and_started_again(cluster: Cluster) -> None:
    probe = Probe("pa", cluster.address("a2", "ipv4"), 8080)
    cluster.servers.stop("a2")
    assert cluster.probe(probe).outcomes == {Outcome.REFUSED}
    cluster.listen("a2", [8080])
    assert cluster.probe(probe).who == {"a2"}


@family_wise
def test_servers_speak_http_to_those_who_ask_for_it(cluster: Cluster, family: Family) -> None:
    answer = get(cluster.namespaces["client"], cluster.address("a1", family), 8080)
    assert (answer.status, '"who": "a1"' in answer.body) == (200, True)


@family_wise
@pytest.mark.parametrize("flags", [SYN, RST])
def test_a_forged_segment_is_forwarded_where_no_rule_forbids_it(cluster: Cluster, family: Family, flags: int) -> None:
    pod = cluster.address("a1", family)
    segment = Segment(cluster.address("client", family), pod, 4242, 9, TCP, flags)
    with Sniffer(cluster.namespaces["a1"]) as sniffer:
        send(cluster.namespaces["client"], segment, hardware_address(cluster.node))
        assert sniffer.until(segment, timeout_s=2)


@pytest.mark.parametrize("allowed", [1, 0])
def test_a_neighbour_reaches_loopback_only_where_route_localnet_lets_it(cluster: Cluster, allowed: int) -> None:
    segment = Segment(cluster.address("client", "ipv4"), "127.0.0.1", 4242, 4243, UDP, payload=b"forged")
    cluster.node.sysctl({"net/ipv4/conf/all/route_localnet": allowed})
    with cluster.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 4243))
        victim.settimeout(2.0 if allowed else 0.3)
        send(cluster.namespaces["client"], segment, hardware_address(cluster.node))
        try:
            received = victim.recv(100)
        except TimeoutError:
            received = b""
    cluster.node.sysctl({"net/ipv4/conf/all/route_localnet": 0})
    assert received == (b"forged" if allowed else b"")


# --- what it leaves -------------------------------------------------------------------------------------------

HOLD = """
import signal, subprocess, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # not so under nohup
from tests.lab import Cluster
with Cluster() as cluster:
    cluster.node.popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
    print(cluster.name, flush=True)
    sys.stdin.read()
"""


def test_nothing_is_left_and_the_host_is_unchanged() -> None:
    before = host_state()
    with Cluster() as cluster:
        cluster.node.run("iptables-legacy", "-A", "INPUT", "-j", "ACCEPT")
        cluster.node.run("nft", "add table ip lab")
        assert leftovers(cluster.name)
    assert leftovers(cluster.name) == []
    assert host_state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(number: signal.Signals) -> None:
    with a_lab_elsewhere() as (process, name):
        assert leftovers(name)
        process.send_signal(number)
        process.wait(timeout=30)
        assert leftovers(name) == []


def test_what_a_killed_lab_leaves_is_removed_by_the_next_one() -> None:
    with a_lab_elsewhere() as (process, name):
        process.kill()
        process.wait(timeout=30)
        (sleeper,) = sleepers(name)
        assert name in sweep()
    assert leftovers(name) == []
    # A process that was killed a moment ago may still have to notice.
    eventually(lambda: not running(sleeper), "the sleeping process is gone")


def test_two_labs_do_not_meet() -> None:
    with Cluster() as one, Cluster() as two:
        assert one.name != two.name
        assert one.name not in sweep()
        for cluster in (one, two):
            assert cluster.probe(Probe("client", cluster.address("a1", "ipv4"), 8080)).who == {"a1"}


@contextlib.contextmanager
def a_lab_elsewhere() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A lab in a process of its own that waits, with a `sleep` running on its node; the process and the lab's name."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def running(pid: int) -> bool:
    """Does the process live? One that ended, and whose parent has not heard of it, has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def sleepers(name: str) -> list[int]:
    """The processes called sleep on the node of the lab of that name."""
    node = (NETNS / f"{name}-node-a").stat().st_ino
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if b"sleep" in (process / "cmdline").read_bytes() and (process / "ns/net").stat().st_ino == node:
                found.append(int(process.name))
    return found
