"""Flags become one frozen `Config`. Every error names its flag.

Defaults are kube-proxy's (its v1alpha1), except that --iptables-min-sync-period is 0: a sync writes only what changed,
so there is no need to save up changes (docs/decisions/0004).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kproxy import config_values as value
from kproxy.config_values import Checked, Problems
from kproxy.errors import ConfigError
from kproxy.logs import logging_format
from kproxy.plan.ipvs.scheduling import DEFAULT_SCHEDULER
from kproxy.plan.local_traffic import LocalSettings
from kproxy.plan.localhost_ports import GATE as GATE_LOCALHOST
from kproxy.plan.sysctls import ConntrackSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kproxy.dns.server.config import DnsConfig

GATE_EXTERNAL_IPS = "AllowServiceExternalIPs"


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsConfig:
    """The --ipvs-* flags. `exclude_cidrs` are canonical; a time-out of 0 leaves the kernel's alone."""

    scheduler: str = DEFAULT_SCHEDULER
    exclude_cidrs: tuple[str, ...] = ()
    strict_arp: bool = False
    tcp_timeout_s: int = 0
    tcp_fin_timeout_s: int = 0
    udp_timeout_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was decided before the agent starts. Times are in seconds."""

    node_name: str
    manifests: Path | None = None
    kubeconfig: Path | None = None
    master: str = ""
    proxy_mode: str = "iptables"
    iptables_variant: str = "auto"
    connection_counters: str = "none"
    bind_address: str = ""
    healthz_bind_address: str = "0.0.0.0:10256"
    metrics_bind_address: str = "127.0.0.1:10249"
    bind_address_hard_fail: bool = False
    local: LocalSettings = field(default_factory=LocalSettings)
    node_port_addresses: tuple[str, ...] = ()
    masquerade_all: bool = False
    masquerade_bit: int = 14
    localhost_node_ports: bool = True
    sync_period_s: float = 30.0
    min_sync_period_s: float = 0.0
    conntrack: ConntrackSettings = field(default_factory=ConntrackSettings)
    ipvs: IpvsConfig = field(default_factory=IpvsConfig)
    oom_score_adj: int = -999
    external_ips_allowed: bool = True
    localhost_relay: bool = False
    ignored_gates: tuple[str, ...] = ()
    logging_format: str = "text"
    config_file: Path | None = None
    dns: DnsConfig | None = None
    configz: bytes = b"{}"

    @property
    def masquerade_mark(self) -> str:
        """The mark as iptables takes it: 0x00004000."""
        return f"0x{1 << self.masquerade_bit:08x}"


def build_config(values: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Config:
    """Build the configuration from setting values by flag key (`proxy_mode`, ...).

    `names` says what to call a setting in an error, where that is not its flag. Raises `ConfigError`, or `ConfigErrors`
    that names everything that is wrong.
    """
    get = values.get
    settings = Checked(values)
    problems = Problems(names or {})
    take = problems.take
    no_gates: dict[str, bool] = {}
    gates = take(lambda: value.feature_gates(get("feature_gates", ())), no_gates)
    mode = take(lambda: value.proxy_mode(get("proxy_mode", "")), "")
    periods = "ipvs" if mode == "ipvs" else "iptables"
    config = Config(
        node_name=take(lambda: value.node_name(get("hostname_override", "")), ""),
        manifests=Path(str(get("manifests"))) if get("manifests") else None,
        kubeconfig=Path(str(get("kubeconfig"))) if get("kubeconfig") else None,
        master=get("master", ""),
        proxy_mode=mode,
        iptables_variant=take(lambda: value.iptables_variant(get("iptables_variant", "auto")), ""),
        connection_counters=take(lambda: value.counters(get("connection_counters", "none")), ""),
        bind_address=take(lambda: value.bind_address(get("bind_address", "")), ""),
        healthz_bind_address=take(lambda: value.listen_address(values, "healthz", 10256), ""),
        metrics_bind_address=take(lambda: value.listen_address(values, "metrics", 10249), ""),
        bind_address_hard_fail=get("bind_address_hard_fail", False),
        local=take(lambda: value.local_settings(values), LocalSettings()),
        node_port_addresses=take(lambda: value.node_port_addresses(get("nodeport_addresses", ()), mode), ()),
        masquerade_all=get("masquerade_all", False),
        masquerade_bit=take(lambda: settings.number("iptables_masquerade_bit", 14, 0, 31), 0),
        localhost_node_ports=get("iptables_localhost_nodeports", True),
        sync_period_s=take(lambda: settings.seconds(f"{periods}_sync_period", 30.0, positive=True), 0.0),
        min_sync_period_s=take(lambda: settings.min_sync_period(periods), 0.0),
        conntrack=_conntrack(settings, values, take),
        # As with kube-proxy: what is wrong in the section of another mode harms nobody.
        ipvs=_ipvs(settings, values, take) if mode == "ipvs" else IpvsConfig(),
        oom_score_adj=take(lambda: settings.number("oom_score_adj", -999, -1000, 1000), 0),
        external_ips_allowed=gates.get(GATE_EXTERNAL_IPS, True),
        localhost_relay=mode == "nftables" and gates.get(GATE_LOCALHOST, False),
        ignored_gates=tuple(name for name in gates if name not in (GATE_EXTERNAL_IPS, GATE_LOCALHOST)),
        logging_format=take(lambda: logging_format(get("logging_format", "text")), ""),
        config_file=Path(str(get("config"))) if get("config") else None,
        dns=take(lambda: _dns(values, mode), None),
    )
    take(lambda: settings.seconds("config_sync_period", 900.0, positive=True), 0.0)
    take(lambda: settings.number("kube_api_burst", 10, 0), 0)
    take(lambda: settings.number("verbosity", 0, 0), 0)
    problems.raise_them()
    return config


def _conntrack(
    settings: Checked, values: Mapping[str, Any], take: Callable[[Callable[[], int], int], int]
) -> ConntrackSettings:
    return ConntrackSettings(
        max_per_core=take(lambda: settings.number("conntrack_max_per_core", 32768, 0), 0),
        min=take(lambda: settings.number("conntrack_min", 131072, 0), 0),
        tcp_timeout_established_s=take(lambda: settings.whole_seconds("conntrack_tcp_timeout_established", 86400), 0),
        tcp_timeout_close_wait_s=take(lambda: settings.whole_seconds("conntrack_tcp_timeout_close_wait", 3600), 0),
        tcp_be_liberal=values.get("conntrack_tcp_be_liberal", False),
        udp_timeout_s=take(lambda: settings.whole_seconds("conntrack_udp_timeout", 0), 0),
        udp_timeout_stream_s=take(lambda: settings.whole_seconds("conntrack_udp_timeout_stream", 0), 0),
    )


def _ipvs(settings: Checked, values: Mapping[str, Any], take: Callable[[Callable[[], Any], Any], Any]) -> IpvsConfig:
    return IpvsConfig(
        scheduler=take(lambda: value.scheduler(values.get("ipvs_scheduler", "")), DEFAULT_SCHEDULER),
        exclude_cidrs=take(lambda: value.excluded_cidrs(values.get("ipvs_exclude_cidrs", ())), ()),
        strict_arp=values.get("ipvs_strict_arp", False),
        tcp_timeout_s=take(lambda: settings.whole_seconds("ipvs_tcp_timeout", 0), 0),
        tcp_fin_timeout_s=take(lambda: settings.whole_seconds("ipvs_tcpfin_timeout", 0), 0),
        udp_timeout_s=take(lambda: settings.whole_seconds("ipvs_udp_timeout", 0), 0),
    )


def _dns(values: Mapping[str, Any], mode: str) -> DnsConfig | None:
    if not any(values.get(key) for key in ("dns_bind_address", "dns_node_local", "dns_intercept")):
        return None
    # Only where it is wanted: it needs half of the DNS code.
    from kproxy.dns.server.config import build_dns_config

    config = build_dns_config(values)
    if config is not None and config.intercept and mode == "ipvs":
        # IPVS takes packets to its virtual servers whether they are tracked or not.
        remedy = "use --dns-node-local, and name that address in the kubelet's --cluster-dns"
        raise ConfigError("--dns-intercept", "is not possible with --proxy-mode ipvs", remedy=remedy)
    return config
