"""The nftables mode against a real kernel: whatever the history, it ends with what a fresh start writes."""

from __future__ import annotations

import errno
import re
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kproxy.dataplane.nftables.proxier  # noqa: F401
from kproxy.dataplane.nftables.watch import TableWatch
from kproxy.dataplane.nftables.writer import commit
from kproxy.netlink.errors import refusal
from kproxy.netlink.nftables.faults import Fault, TransactionRefused
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables import layout
from kproxy.plan.nftables.packing import pack_backend, pack_frontend, pack_ip
from kproxy.plan.nftables.transaction import AddElements, DeleteElements, Transaction
from kproxy.state.addresses import FAMILIES, Family
from tests.dataplane.nftables.rig import Rig
from tests.netlink.netns import PrivateNetns
from tests.plan.nftables.objects import VARIANTS, WORDS, cluster_ip, make_ends, make_service, vip
from tests.state.objects import gone, here, node
from tests.state.shorthand import pod_ip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.sources.changes import Change

pytestmark = pytest.mark.root

PROXIER = sys.modules["kproxy.dataplane.nftables.proxier"]

SERVICES = st.integers(0, 5)
EVENTS = st.one_of(
    st.tuples(st.just("service"), SERVICES, st.integers(0, len(VARIANTS) - 1)),
    st.tuples(st.just("no service"), SERVICES, st.just(0)),
    st.tuples(st.just("endpoints"), SERVICES, st.integers(0, len(WORDS) - 1)),
    st.tuples(st.just("no endpoints"), SERVICES, st.just(0)),
    st.tuples(st.just("exchange"), SERVICES, SERVICES),
    st.tuples(st.just("node"), st.integers(1, 2), st.just(0)),
    st.tuples(st.just("sync"), st.just(0), st.just(0)),
    st.tuples(st.just("full sync"), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
    st.tuples(st.just("sabotage"), st.integers(0, 8), st.just(0)),
)


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


class History:
    """Runs events on a rig, and keeps what the cluster looks like at the end."""

    def __init__(self, netns: PrivateNetns, family: Family) -> None:
        self.family = family
        self.rig = Rig(netns, family)
        self.present: dict[tuple[str, str], Change] = {}
        self.rig.apply([here(node(addresses=[("InternalIP", "192.168.0.1")]))])
        for number in range(4):
            self.run("service", number, number)
            self.run("endpoints", number, WORDS.index("a1 a2 b1 b2"))
        self.rig.sync()

    def run(self, what: str, number: int, choice: int) -> None:
        match what:
            case "service":
                self._change(here(make_service(number, choice, self.family)))
            case "no service":
                self._change(gone(make_service(number, 0, self.family)))
            case "endpoints":
                self._change(here(make_ends(number, WORDS[choice], self.family)))
            case "no endpoints":
                self._change(gone(make_ends(number, "", self.family)))
            case "exchange":
                # One Service goes and another has its endpoints, in one sync.
                self._change(gone(make_service(number, 0, self.family)))
                self._change(here(make_service(choice, 1, self.family)))
            case "node":
                self._change(here(node(addresses=[("InternalIP", f"192.168.0.{number}")])))
            case "sync":
                self.rig.sync()
            case "full sync":
                self.rig.sync(full=True)
            case "restart":
                self.rig.restart()
            case "sabotage":
                self.rig.nft(*SABOTAGE[number].replace("FAMILY", FAMILY_WORD[self.family]).split(" ", 5))
                self.rig.sync(full=True)

    def _change(self, change: Change) -> None:
        key = (change.kind, change.key)
        if change.obj is None:
            self.present.pop(key, None)
        else:
            self.present[key] = change
        self.rig.apply([change])


FAMILY_WORD = {Family.IPV4: "ip", Family.IPV6: "ip6"}
SABOTAGE = (
    "delete table FAMILY kproxy",
    "flush map FAMILY kproxy endpoints",
    "flush map FAMILY kproxy service-ips",
    "flush chain FAMILY kproxy services",
    "add rule FAMILY kproxy services accept",
    "add chain FAMILY kproxy somebodys",
    "add element FAMILY kproxy firewall-ips { * }",
    "add element FAMILY kproxy service-ips { * : drop }",
    "add element FAMILY kproxy firewall-ranges { * }",
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(EVENTS, max_size=25), st.sampled_from(FAMILIES))
def test_any_history_ends_as_a_fresh_start(events: list[tuple[str, int, int]], family: Family) -> None:
    with PrivateNetns() as netns, PrivateNetns() as other:
        history = History(netns, family)
        for event in events:
            history.run(*event)
        history.rig.sync()
        fresh = Rig(other, family)
        fresh.apply([here(node(addresses=[("InternalIP", "192.168.0.1")]))])
        fresh.apply(history.present.values())
        fresh.sync()
        assert history.rig.held() == fresh.held()
        assert not history.rig.sync(full=True).changed_anything, "nothing is left to do"
        assert history.rig.netns.run(history.rig.proxier.intact)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_restart_on_an_identical_ruleset_changes_nothing(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    objects = [make_service(number, number, family) for number in range(len(VARIANTS))]
    rig.load(*objects, *(make_ends(number, "a1 a2 b1 b2", family) for number in range(len(VARIANTS))))
    rig.load(make_ends(0, "a2 b1 b2", family), make_ends(1, "b2", family))
    before = rig.nft("--handle", "list", "ruleset")
    rig.restart()
    assert not rig.sync().changed_anything
    assert rig.nft("--handle", "list", "ruleset") == before


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_others_do_to_the_rules_is_seen(netns: PrivateNetns, family: Family, watched: bool) -> None:
    rig = Rig(netns, family)
    rig.load(make_service(0, 0, family), make_ends(0, "a1 b1", family))
    if watched:
        rig.proxier.watch = netns.run(lambda: TableWatch(layout.TABLE))
        netns.on_exit(rig.proxier.watch.close)
    assert netns.run(rig.proxier.intact)
    rig.load(make_ends(0, "a1", family))
    assert netns.run(rig.proxier.intact)
    rig.nft("add", "table", "inet", "somebodys")
    assert netns.run(rig.proxier.intact)
    for sabotage in SABOTAGE:
        rig.nft(*sabotage.replace("FAMILY", FAMILY_WORD[family]).split(" ", 5))
        seen = not netns.run(rig.proxier.intact)
        # Elements are the watch's business, and a chain that nobody jumps to is nobody's.
        of_elements = "map" in sabotage or "element" in sabotage
        assert seen is not ("somebodys" in sabotage or (watched and of_elements))
        rig.sync(full=True)
        assert netns.run(rig.proxier.intact)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_endpoint_that_goes_moves_one_other_at_the_most(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    rig.load(make_service(0, 0, family), make_ends(0, "a1 a2 a3 a4 b1 b2 b3 b4", family))
    synced = rig.load(make_ends(0, "a1 a3 a4 b1 b2 b3 b4", family))
    # The hole filled by the last; the last slot; the hairpin of a2.
    assert (synced.written, synced.deleted) == ("1 elements", 3)
    synced = rig.load(make_ends(0, "a1 a3 a4 b1 b2 b3 b4 b5", family))
    assert (synced.written, synced.deleted) == ("1 elements", 0)
    # A ninth needs a longer list: the verdict changes, and the shape of before goes.
    synced = rig.load(make_ends(0, "a1 a2 a3 a4 b1 b2 b3 b4 b5", family))
    assert synced.written == "2 chains and 3 elements"
    assert synced.deleted == 1 + 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_table_of_another_layout_is_replaced(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    word = FAMILY_WORD[family]
    rig.nft(
        "-f",
        "-",
        stdin=f"""
        table {word} kproxy {{
            comment "kproxy, layout 0"
            set cluster-ips {{ typeof {word} saddr . {word} daddr; }}
            chain services {{ type filter hook prerouting priority 0; accept; }}
        }}""",
    )
    rig.load(make_service(0, 0, family), make_ends(0, "a1", family))
    fresh = Rig(netns, family)
    fresh.apply([here(make_service(0, 0, family)), here(make_ends(0, "a1", family))])
    assert not fresh.sync().changed_anything


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_detector_or_mark_rewrites_chains_and_no_element(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    rig.load(make_service(0, 6, family), make_ends(0, "a1 b1", family))
    other = Rig(netns, family, detect_local_mode="BridgeInterface", pod_bridge_interface="br0", masquerade_all=True)
    other.apply([here(make_service(0, 6, family)), here(make_ends(0, "a1 b1", family))])
    synced = other.sync()
    assert "elements" not in synced.written
    assert re.fullmatch(r"\d+ chains", synced.written)
    assert 'iifname "br0"' in rig.nft("list", "ruleset")


@pytest.mark.parametrize("family", FAMILIES)
def test_pins_of_an_endpoint_go_with_it(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    rig.load(make_service(4, 4, family), make_ends(4, "a1 b1", family))
    client, frontend = pack_ip(pod_ip("a9", family)), cluster_ip(4, family)
    node_ip = pack_ip("192.168.0.1" if family is Family.IPV4 else "fd00:192:168::1")
    kept = {
        client + pack_frontend(frontend, "TCP", 80): pack_backend(pod_ip("b1", family), 8080),
        client + node_ip + pack_frontend("", "TCP", 30004): pack_backend(pod_ip("b1", family), 8080),
    }
    other = pack_ip(pod_ip("a8", family))
    lost = {
        other + pack_frontend(frontend, "TCP", 80): pack_backend(pod_ip("a1", family), 8080),
        other + node_ip + pack_frontend("", "TCP", 30004): pack_backend(pod_ip("a1", family), 8080),
        other + pack_frontend(vip(1, family), "TCP", 80): pack_backend(pod_ip("b1", family), 8080),
    }
    _learn(rig, kept | lost)
    assert rig.pins() == kept | lost
    rig.load(make_ends(4, "b1", family))
    assert rig.pins() == kept
    # Without affinity there is nothing to remember.
    rig.load(make_service(4, 1, family))
    assert rig.pins() == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_pins_outlive_a_restart_unless_their_endpoint_went_meanwhile(netns: PrivateNetns, family: Family) -> None:
    rig = Rig(netns, family)
    rig.load(make_service(4, 4, family), make_ends(4, "a1 b1", family))
    client, frontend = pack_ip(pod_ip("a9", family)), pack_frontend(cluster_ip(4, family), "TCP", 80)
    kept = {client + frontend: pack_backend(pod_ip("b1", family), 8080)}
    _learn(rig, kept | {pack_ip(pod_ip("a8", family)) + frontend: pack_backend(pod_ip("a1", family), 8080)})
    rig.apply([here(make_ends(4, "b1", family))])
    rig.restart()
    rig.sync()
    assert rig.pins() == kept


def _learn(rig: Rig, pins: dict[bytes, bytes]) -> None:
    """Enter pins, as packets do."""

    def enter() -> None:
        with NetlinkSocket() as netlink:
            spec = rig.proxier.ruleset.pins
            commit(netlink, Transaction(rig.family, layout.TABLE, (AddElements(spec, pins),)))

    rig.netns.run(enter)


class PickyKernel:
    """Commits for real, but refuses elements that hold some bytes, as a kernel does that finds something wrong."""

    def __init__(self, rig: Rig, *, refused: bytes = b"", expired: int = 0) -> None:
        self.rig = rig
        self.refused = refused
        self.expired = expired
        self.commits = 0

    def __call__(self, netlink: NetlinkSocket, transaction: Transaction) -> None:
        self.commits += 1
        faults = [
            Fault(operation, key, refusal("add elements", errno.EINVAL))
            for operation in transaction.operations
            if isinstance(operation, AddElements) and self.refused
            for key in operation.elements
            if self.refused in key
        ]
        if self.expired:
            pins = [
                operation
                for operation in transaction.operations
                if isinstance(operation, DeleteElements) and operation.spec.name == layout.AFFINITY
            ]
            self.expired -= bool(pins)
            faults += [Fault(operation, None, refusal("delete elements", errno.ENOENT)) for operation in pins]
        if faults:
            raise TransactionRefused(faults)
        commit(netlink, transaction)


def test_a_service_that_the_kernel_refuses_is_left_out_and_named(
    netns: PrivateNetns, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(netns, Family.IPV4)
    monkeypatch.setattr(PROXIER, "commit", PickyKernel(rig, refused=pack_ip(cluster_ip(1, Family.IPV4))))
    objects = [make_service(number, 0, Family.IPV4) for number in range(3)]
    rig.load(*objects, *(make_ends(number, "a1", Family.IPV4) for number in range(3)))
    assert list(rig.proxier.refused) == ["ns1/svc1"]
    assert "Service ns1/svc1: add elements" in str(rig.proxier.refused["ns1/svc1"])
    listed = rig.nft("list", "map", "ip", "kproxy", "service-ips")
    assert [name for name in ("svc0", "svc1", "svc2") if name in listed] == ["svc0", "svc2"]
    # Something about it changes: it is tried again.
    monkeypatch.setattr(PROXIER, "commit", commit)
    rig.load(make_ends(1, "a1 b1", Family.IPV4))
    assert not rig.proxier.refused
    assert "svc1" in rig.nft("list", "map", "ip", "kproxy", "service-ips")


def test_what_is_refused_and_nobodys_fails_the_sync(netns: PrivateNetns, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(netns, Family.IPV4)
    monkeypatch.setattr(PROXIER, "commit", PickyKernel(rig, refused=pack_ip("192.168.0.1")))
    rig.apply([here(node(addresses=[("InternalIP", "192.168.0.1")])), here(make_service(0, 0, Family.IPV4))])
    with pytest.raises(TransactionRefused) as raised:
        rig.sync()
    assert raised.value.while_writing
    monkeypatch.setattr(PROXIER, "commit", commit)
    assert rig.sync().full


def test_a_pin_that_expires_in_the_wrong_moment_does_no_harm(
    netns: PrivateNetns, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(netns, Family.IPV4)
    rig.load(make_service(4, 4, Family.IPV4), make_ends(4, "a1 b1", Family.IPV4))
    frontend = pack_frontend(cluster_ip(4, Family.IPV4), "TCP", 80)
    _learn(rig, {pack_ip("10.0.0.1") + frontend: pack_backend(pod_ip("a1"), 8080)})
    kernel = PickyKernel(rig, expired=2)
    monkeypatch.setattr(PROXIER, "commit", kernel)
    rig.load(make_ends(4, "b1", Family.IPV4))
    assert not rig.proxier.refused
    assert rig.pins() == {}
    assert kernel.expired == 0
