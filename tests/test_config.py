"""Flag values become a configuration: kube-proxy's validation (reference section 8.2), each error naming its flag."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from kproxy.config import Config, build_config
from kproxy.errors import ConfigError
from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings
from kproxy.plan.sysctls import ConntrackSettings
from kproxy.state.addresses import Family

V4, V6 = Family.IPV4, Family.IPV6


def build(**values: Any) -> Config:
    return build_config({"hostname_override": "node-a", **values})


def test_without_any_flag() -> None:
    config = build()
    assert config == Config(
        node_name="node-a",
        manifests=None,
        proxy_mode="iptables",
        iptables_variant="auto",
        healthz_bind_address="",
        metrics_bind_address="",
        sync_period_s=30.0,
        min_sync_period_s=0.0,
        masquerade_bit=14,
        localhost_node_ports=True,
        oom_score_adj=-999,
        external_ips_allowed=True,
        conntrack=ConntrackSettings(32768, 131072, 86400, 3600, False, 0, 0),
        local=LocalSettings(DetectLocalMode.CLUSTER_CIDR),
    )


@pytest.mark.parametrize(
    ("override", "name"), [("node-a", "node-a"), (" Node-A.Example ", "node-a.example"), ("NODE", "node")]
)
def test_node_name(override: str, name: str) -> None:
    assert build(hostname_override=override).node_name == name


def test_the_node_is_named_after_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Worker-1")
    assert build_config({}).node_name == "worker-1"


@pytest.mark.parametrize(
    ("bit", "mark"), [(0, "0x00000001"), (14, "0x00004000"), (15, "0x00008000"), (31, "0x80000000")]
)
def test_mark(bit: int, mark: str) -> None:
    assert build(iptables_masquerade_bit=bit).masquerade_mark == mark


@pytest.mark.parametrize(
    ("values", "local"),
    [
        ({"cluster_cidr": ("10.244.0.0/16",)}, LocalSettings(cluster_cidrs=((V4, "10.244.0.0/16"),))),
        (
            {"cluster_cidr": ("fd00::/56", "10.244.1.1/16")},
            LocalSettings(cluster_cidrs=((V6, "fd00::/56"), (V4, "10.244.0.0/16"))),
        ),
        ({"detect_local_mode": ""}, LocalSettings()),
        ({"detect_local_mode": "NodeCIDR"}, LocalSettings(DetectLocalMode.NODE_CIDR)),
        (
            {"detect_local_mode": "BridgeInterface", "pod_bridge_interface": "cbr0"},
            LocalSettings(DetectLocalMode.BRIDGE_INTERFACE, bridge_interface="cbr0"),
        ),
        (
            {"detect_local_mode": "InterfaceNamePrefix", "pod_interface_name_prefix": "veth"},
            LocalSettings(DetectLocalMode.INTERFACE_NAME_PREFIX, interface_name_prefix="veth"),
        ),
        ({"pod_bridge_interface": "a" * 15}, LocalSettings(bridge_interface="a" * 15)),
        ({"pod_interface_name_prefix": "a" * 14}, LocalSettings(interface_name_prefix="a" * 14)),
    ],
)
def test_local_traffic(values: dict[str, Any], local: LocalSettings) -> None:
    assert build(**values).local == local


def test_nftables_mode_serves_node_ports_on_the_primary_address() -> None:
    assert build(proxy_mode="nftables").node_port_addresses == ("primary",)
    assert build(proxy_mode="nftables", nodeport_addresses=("10.0.0.0/8",)).node_port_addresses == ("10.0.0.0/8",)
    assert build(proxy_mode="iptables").node_port_addresses == ()


# The deprecated port flags.

BIND: list[tuple[str, int | None, str]] = [
    ("0.0.0.0:10256", None, "0.0.0.0:10256"),
    ("0.0.0.0:10256", 0, ""),
    ("0.0.0.0:10256", 20256, "0.0.0.0:20256"),
    ("[::]:10256", 20256, "[::]:20256"),
    ("", 20256, ""),
    # An address without a port: it must stay that address.
    ("127.0.0.1", 20256, "127.0.0.1:20256"),
    ("::1", 20256, "[::1]:20256"),
    ("[::1]", 20256, "[::1]:20256"),
]


@pytest.mark.parametrize(("address", "port", "expected"), BIND)
def test_port_flags(address: str, port: int | None, expected: str) -> None:
    config = build(healthz_bind_address=address, healthz_port=port, metrics_bind_address=address, metrics_port=port)
    assert (config.healthz_bind_address, config.metrics_bind_address) == (expected, expected)


@pytest.mark.parametrize(
    ("gates", "allowed"),
    [
        ((), True),
        (("AllowServiceExternalIPs=false",), False),
        (("NFTablesNetlink=true", "AllowServiceExternalIPs=False"), False),
        (("AllowServiceExternalIPs=false", "AllowServiceExternalIPs=true"), True),
    ],
)
def test_feature_gates(gates: tuple[str, ...], allowed: bool) -> None:
    assert build(feature_gates=gates).external_ips_allowed is allowed


@pytest.mark.parametrize(("mode", "relayed"), [("nftables", True), ("iptables", False), ("ipvs", False)])
def test_node_ports_on_localhost_are_relayed_in_nftables_mode(mode: str, relayed: bool) -> None:
    gate = "KubeProxyNFTablesLocalhostNodePorts"
    config = build(proxy_mode=mode, feature_gates=(f"{gate}=true",))
    assert (config.localhost_relay, config.ignored_gates) == (relayed, ())
    assert not build(proxy_mode=mode).localhost_relay


@pytest.mark.parametrize(
    "values",
    [
        {"iptables_sync_period": 5.0, "iptables_min_sync_period": 5.0},
        {"conntrack_max_per_core": 0, "conntrack_min": 0},
        {"conntrack_tcp_timeout_established": 0.0},
        {"oom_score_adj": -1000},
        {"oom_score_adj": 1000},
        {"nodeport_addresses": ("primary", "localhost", "10.0.0.0/8")},
        {"bind_address": "::"},
        {"ipvs_exclude_cidrs": ("of another mode",), "ipvs_tcp_timeout": -1.0, "ipvs_scheduler": "nosuch"},
    ],
)
def test_edges_that_are_taken(values: dict[str, Any]) -> None:
    build(**values)


# Everything that is refused: (flag, values).

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("--hostname-override", {"hostname_override": "  "}),
    ("--proxy-mode", {"proxy_mode": "IPVS"}),
    ("--iptables-variant", {"iptables_variant": "nftables"}),
    ("--ipvs-scheduler", {"proxy_mode": "ipvs", "ipvs_scheduler": "nosuch"}),
    ("--ipvs-exclude-cidrs", {"proxy_mode": "ipvs", "ipvs_exclude_cidrs": ("10.0.0.1",)}),
    ("--ipvs-sync-period", {"proxy_mode": "ipvs", "ipvs_sync_period": 0.0}),
    ("--ipvs-tcp-timeout", {"proxy_mode": "ipvs", "ipvs_tcp_timeout": -1.0}),
    ("--proxy-mode", {"proxy_mode": "Iptables"}),
    ("--proxy-mode", {"proxy_mode": "kernelspace"}),
    ("--bind-address", {"bind_address": "node-a"}),
    ("--bind-address", {"bind_address": "0.0.0.0:80"}),
    ("--healthz-port", {"healthz_bind_address": "0.0.0.0:10256", "healthz_port": 65536}),
    ("--metrics-port", {"metrics_bind_address": "0.0.0.0:10249", "metrics_port": -1}),
    # Before anything is done on the node: sysctls are written before the servers open.
    ("--healthz-bind-address", {"healthz_bind_address": "nonsense"}),
    ("--healthz-bind-address", {"healthz_bind_address": "0.0.0.0:70000"}),
    ("--metrics-bind-address", {"metrics_bind_address": "localhost:10249"}),
    ("--metrics-bind-address", {"metrics_bind_address": "127.0.0.1:0"}),
    ("--config-sync-period", {"config_sync_period": 0.0}),
    ("--kube-api-burst", {"kube_api_burst": -1}),
    ("--verbosity", {"verbosity": -1}),
    ("--detect-local-mode", {"detect_local_mode": "clustercidr"}),
    ("--detect-local-mode", {"detect_local_mode": "Node"}),
    ("--pod-bridge-interface", {"detect_local_mode": "BridgeInterface"}),
    ("--pod-interface-name-prefix", {"detect_local_mode": "InterfaceNamePrefix"}),
    *(
        ("--pod-bridge-interface", {"pod_bridge_interface": name})
        for name in ("a" * 16, "a b", "a/b", "cbr+", "!cbr0", 'a"b', "a\nb", "a\\")
    ),
    ("--pod-interface-name-prefix", {"pod_interface_name_prefix": "veth+"}),
    # iptables counts the "+" that makes it a prefix (tried: "interface name must be shorter than IFNAMSIZ").
    ("--pod-interface-name-prefix", {"pod_interface_name_prefix": "a" * 15}),
    ("--cluster-cidr", {"cluster_cidr": ("10.0.0.0",)}),
    ("--cluster-cidr", {"cluster_cidr": ("10.0.0.0/33",)}),
    ("--cluster-cidr", {"cluster_cidr": ("10.0.0.0/255.0.0.0",)}),
    ("--cluster-cidr", {"cluster_cidr": ("10.0.0.0/8", "192.168.0.0/16")}),
    ("--cluster-cidr", {"cluster_cidr": ("10.0.0.0/8", "fd00::/48", "fd01::/48")}),
    ("--nodeport-addresses", {"nodeport_addresses": ("10.0.0.1",)}),
    ("--nodeport-addresses", {"nodeport_addresses": ("Primary",)}),
    ("--iptables-masquerade-bit", {"iptables_masquerade_bit": 32}),
    ("--iptables-masquerade-bit", {"iptables_masquerade_bit": -1}),
    ("--iptables-sync-period", {"iptables_sync_period": 0.0}),
    ("--iptables-sync-period", {"iptables_sync_period": -1.0}),
    ("--connection-counters", {"connection_counters": "all"}),
    ("--iptables-min-sync-period", {"iptables_min_sync_period": -1.0}),
    ("--iptables-min-sync-period", {"iptables_min_sync_period": 31.0}),
    ("--iptables-min-sync-period", {"iptables_sync_period": 1.0, "iptables_min_sync_period": 2.0}),
    ("--conntrack-max-per-core", {"conntrack_max_per_core": -1}),
    ("--conntrack-min", {"conntrack_min": -1}),
    ("--conntrack-tcp-timeout-established", {"conntrack_tcp_timeout_established": -1.0}),
    ("--conntrack-tcp-timeout-close-wait", {"conntrack_tcp_timeout_close_wait": -1.0}),
    ("--conntrack-udp-timeout", {"conntrack_udp_timeout": -1.0}),
    ("--conntrack-udp-timeout-stream", {"conntrack_udp_timeout_stream": -1.0}),
    ("--oom-score-adj", {"oom_score_adj": -1001}),
    ("--logging-format", {"logging_format": "xml"}),
    ("--oom-score-adj", {"oom_score_adj": 1001}),
    ("--feature-gates", {"feature_gates": ("AllowServiceExternalIPs",)}),
    ("--feature-gates", {"feature_gates": ("AllowServiceExternalIPs=perhaps",)}),
]


@pytest.mark.parametrize(
    ("flag", "values"), REFUSED, ids=[f"{flag}: {' '.join(map(str, values.values()))!a}" for flag, values in REFUSED]
)
def test_what_is_refused(flag: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(**values)
    assert caught.value.field == flag
    assert str(caught.value).startswith(f"{flag}")
    assert " - " in str(caught.value), "it says what to do"
    assert str(caught.value).isprintable()


def test_dns_can_not_take_an_address_from_ipvs() -> None:
    values = {"proxy_mode": "ipvs", "dns_intercept": ("10.96.0.10",)}
    with pytest.raises(ConfigError, match="--dns-intercept: is not possible with --proxy-mode ipvs"):
        build_config(values)
    config = build_config({**values, "proxy_mode": "nftables"})
    assert config.dns is not None
    assert [str(address) for address in config.dns.addresses] == ["10.96.0.10:53"]
