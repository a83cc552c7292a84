from __future__ import annotations

from typing import Any, Literal

import pytest

from kproxy.plan.sysctls import ConntrackSettings, Sysctl, conntrack_max, wanted_sysctls

LEAVE = ConntrackSettings(
    max_per_core=0, min=0, tcp_timeout_established_s=0, tcp_timeout_close_wait_s=0, udp_timeout_s=0
)
Mode = Literal["iptables", "ipvs", "nftables", "userspace"]


def values(settings: ConntrackSettings, *, mode: Mode = "nftables", cpus: int = 8, **others: Any) -> dict[str, int]:
    return {sysctl.name: sysctl.value for sysctl in wanted_sysctls(settings, cpus=cpus, mode=mode, **others)}


# maxPerCore x CPUs, at least min; above 1,048,576 exactly that, and min does not count (delta 8).
@pytest.mark.parametrize(
    ("per_core", "minimum", "cpus", "expected"),
    [
        (32768, 131072, 8, 262144),
        (32768, 131072, 2, 131072),
        (32768, 131072, 4, 131072),
        (32768, 131072, 32, 1048576),
        (32768, 131072, 33, 1048576),
        (32768, 131072, 256, 1048576),
        (32768, 2000000, 256, 1048576),
        (32768, 2000000, 8, 2000000),
        (32768, 0, 1, 32768),
        (0, 131072, 8, 0),
    ],
)
def test_conntrack_max(per_core: int, minimum: int, cpus: int, expected: int) -> None:
    assert conntrack_max(ConntrackSettings(max_per_core=per_core, min=minimum), cpus) == expected


def test_defaults() -> None:
    assert values(ConntrackSettings()) == {
        "net/netfilter/nf_conntrack_max": 262144,
        "net/netfilter/nf_conntrack_buckets": 65536,
        "net/netfilter/nf_conntrack_tcp_timeout_established": 86400,
        "net/netfilter/nf_conntrack_tcp_timeout_close_wait": 3600,
    }


def test_nothing_asked_for() -> None:
    assert values(LEAVE) == {}


@pytest.mark.parametrize(
    ("field", "value", "name", "expected", "flag", "remedy"),
    [
        ("max_per_core", 1000, "nf_conntrack_max", 8000, "--conntrack-max-per-core", "0"),
        ("tcp_timeout_established_s", 7, "nf_conntrack_tcp_timeout_established", 7, None, "0"),
        ("tcp_timeout_close_wait_s", 7, "nf_conntrack_tcp_timeout_close_wait", 7, None, "0"),
        ("tcp_be_liberal", True, "nf_conntrack_tcp_be_liberal", 1, None, "=false"),
        ("udp_timeout_s", 7, "nf_conntrack_udp_timeout", 7, None, "0"),
        ("udp_timeout_stream_s", 7, "nf_conntrack_udp_timeout_stream", 7, None, "0"),
    ],
)
def test_each_flag(field: str, value: Any, name: str, expected: int, flag: str | None, remedy: str) -> None:
    settings = ConntrackSettings(**{"max_per_core": 0, "min": 0, **_zeros(), field: value})
    wanted = wanted_sysctls(settings, cpus=8, mode="nftables")
    first = wanted[0]
    assert (first.name, first.value, first.minimum) == (f"net/netfilter/{name}", expected, False)
    assert first.flag == (flag or "--" + name.removeprefix("nf_").replace("_", "-"))
    assert f"{first.flag}{remedy}" in first.remedy.replace(f"{first.flag} ", first.flag)
    assert len(wanted) == (2 if field == "max_per_core" else 1)


def _zeros() -> dict[str, int]:
    return {"tcp_timeout_established_s": 0, "tcp_timeout_close_wait_s": 0}


def test_buckets_are_a_minimum_of_a_quarter_of_the_table() -> None:
    buckets = wanted_sysctls(ConntrackSettings(), cpus=8, mode="nftables")[1]
    assert (buckets.name, buckets.value, buckets.minimum) == ("net/netfilter/nf_conntrack_buckets", 65536, True)
    assert buckets.satisfied_by(65536)
    assert buckets.satisfied_by(262144)
    assert not buckets.satisfied_by(65535)


def test_other_settings_must_be_equal() -> None:
    sysctl = Sysctl("net/ipv4/ip_forward", 1, "--proxy-mode", "")
    assert [sysctl.satisfied_by(present) for present in (0, 1, 2)] == [False, True, False]


ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"


@pytest.mark.parametrize(
    ("mode", "ipv4", "localhost", "loopback", "expected"),
    [
        ("iptables", True, True, True, {ROUTE_LOCALNET: 1}),
        ("iptables", True, False, True, {}),
        ("iptables", True, True, False, {}),
        ("iptables", False, True, True, {}),
        ("nftables", True, True, True, {}),
        ("userspace", True, True, True, {}),
    ],
)
def test_route_localnet(mode: Mode, ipv4: bool, localhost: bool, loopback: bool, expected: dict[str, int]) -> None:
    assert (
        values(LEAVE, mode=mode, ipv4=ipv4, localhost_node_ports=localhost, node_ports_on_loopback=loopback) == expected
    )


# Section "Sysctls" of the reference's IPVS mode.
@pytest.mark.parametrize(
    ("strict_arp", "conn_reuse_mode", "extra"),
    [
        (False, False, {}),
        (True, False, {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}),
        (False, True, {"net/ipv4/vs/conn_reuse_mode": 0}),
    ],
)
def test_ipvs(strict_arp: bool, conn_reuse_mode: bool, extra: dict[str, int]) -> None:
    assert values(LEAVE, mode="ipvs", strict_arp=strict_arp, conn_reuse_mode=conn_reuse_mode) == {
        "net/ipv4/vs/conntrack": 1,
        "net/ipv4/vs/expire_nodest_conn": 1,
        "net/ipv4/vs/expire_quiescent_template": 1,
        "net/ipv4/ip_forward": 1,
        **extra,
    }
