"""Flags become one frozen `Config`. Every error names its flag.

Rules and defaults are kube-proxy's (its v1alpha1 validation), except that --iptables-min-sync-period is 0: a sync
writes only what changed, so there is no need to save up changes (docs/decisions/0004).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kproxy.errors import ConfigError, ConfigErrors
from kproxy.health.bind import parse_bind
from kproxy.logs import FORMATS
from kproxy.plan.ipvs.scheduling import DEFAULT_SCHEDULER
from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings
from kproxy.plan.node_ports import PRIMARY, parse_node_port_addresses
from kproxy.plan.sysctls import ConntrackSettings
from kproxy.state.addresses import Family, parse_cidr, parse_ip
from kproxy.state.service import IPVS_SCHEDULERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kproxy.dns.server.config import DnsConfig

T = TypeVar("T")

TRUE, FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})
"""How Go writes truth (strconv.ParseBool), in lower case."""

MODES = ("iptables", "nftables", "ipvs")
GATE_EXTERNAL_IPS = "AllowServiceExternalIPs"
_INTERFACE = re.compile(r"[^\s/+!\"'\\]+\Z")
_MAX_INTERFACE = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsConfig:
    """The --ipvs-* flags. `exclude_cidrs` are canonical; a time-out of 0 leaves the kernel's alone."""

    scheduler: str = DEFAULT_SCHEDULER
    exclude_cidrs: tuple[str, ...] = ()
    strict_arp: bool = False
    tcp_timeout_s: int = 0
    tcp_fin_timeout_s: int = 0
    udp_timeout_s: int = 0


COUNTERS = ("none", "services", "endpoints")


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
    settings = _Checked(values)
    problems = _Problems(names or {})
    take = problems.take
    no_gates: dict[str, bool] = {}
    gates = take(lambda: _gates(get("feature_gates", ())), no_gates)
    mode = take(lambda: _mode(get("proxy_mode", "")), "")
    periods = "ipvs" if mode == "ipvs" else "iptables"
    config = Config(
        node_name=take(lambda: _node_name(get("hostname_override", "")), ""),
        manifests=Path(str(get("manifests"))) if get("manifests") else None,
        kubeconfig=Path(str(get("kubeconfig"))) if get("kubeconfig") else None,
        master=get("master", ""),
        proxy_mode=mode,
        iptables_variant=get("iptables_variant", "auto"),
        connection_counters=take(lambda: _counters(get("connection_counters", "none")), ""),
        bind_address=take(lambda: _bind_address(get("bind_address", "")), ""),
        healthz_bind_address=take(lambda: _listen(values, "healthz", 10256), ""),
        metrics_bind_address=take(lambda: _listen(values, "metrics", 10249), ""),
        bind_address_hard_fail=get("bind_address_hard_fail", False),
        local=take(lambda: _local(values), LocalSettings()),
        node_port_addresses=take(lambda: _node_port_addresses(get("nodeport_addresses", ()), mode), ()),
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
        ignored_gates=tuple(name for name in gates if name != GATE_EXTERNAL_IPS),
        logging_format=take(lambda: _logging_format(get("logging_format", "text")), ""),
        config_file=Path(str(get("config"))) if get("config") else None,
        dns=take(lambda: _dns(values, mode), None),
    )
    take(lambda: settings.seconds("config_sync_period", 900.0, positive=True), 0.0)
    take(lambda: settings.number("kube_api_burst", 10, 0), 0)
    take(lambda: settings.number("verbosity", 0, 0), 0)
    problems.raise_them()
    return config


class _Problems:
    """Collects what is wrong, so that all of it is said at once, and names it in the user's terms."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._errors: list[ConfigError] = []

    def take(self, value: Callable[[], T], otherwise: T) -> T:
        """Return what `value` returns; `otherwise` when it raises ConfigError."""
        try:
            return value()
        except ConfigError as error:
            name = self._names.get(error.field.removeprefix("--").replace("-", "_"), error.field)
            self._errors.append(ConfigError(name, error.reason, remedy=error.remedy))
            return otherwise

    def raise_them(self) -> None:
        if self._errors:
            raise self._errors[0] if len(self._errors) == 1 else ConfigErrors(self._errors)


def _conntrack(
    settings: _Checked, values: Mapping[str, Any], take: Callable[[Callable[[], int], int], int]
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


def _ipvs(settings: _Checked, values: Mapping[str, Any], take: Callable[[Callable[[], Any], Any], Any]) -> IpvsConfig:
    return IpvsConfig(
        scheduler=take(lambda: _scheduler(values.get("ipvs_scheduler", "")), DEFAULT_SCHEDULER),
        exclude_cidrs=take(lambda: excluded_cidrs(values.get("ipvs_exclude_cidrs", ())), ()),
        strict_arp=values.get("ipvs_strict_arp", False),
        tcp_timeout_s=take(lambda: settings.whole_seconds("ipvs_tcp_timeout", 0), 0),
        tcp_fin_timeout_s=take(lambda: settings.whole_seconds("ipvs_tcpfin_timeout", 0), 0),
        udp_timeout_s=take(lambda: settings.whole_seconds("ipvs_udp_timeout", 0), 0),
    )


def _scheduler(name: str) -> str:
    if name and name not in IPVS_SCHEDULERS:
        raise ConfigError("--ipvs-scheduler", f"{name!r} is unknown", remedy=f"use one of {', '.join(IPVS_SCHEDULERS)}")
    return name or DEFAULT_SCHEDULER


def excluded_cidrs(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return --ipvs-exclude-cidrs in canonical form. Raises `ConfigError`."""
    found = []
    for text in texts:
        try:
            found.append(parse_cidr(text)[1])
        except ValueError:
            raise ConfigError(
                "--ipvs-exclude-cidrs", f"{text!r} is not a CIDR", remedy="write it like 192.0.2.0/24"
            ) from None
    return tuple(found)


class _Checked:
    """Numbers within their bounds."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def number(self, key: str, default: int, low: int, high: int | None = None) -> int:
        value = int(self._values.get(key, default))
        if value < low or (high is not None and value > high):
            bounds = f"{low} to {high}" if high is not None else f"{low} or more"
            raise ConfigError(_flag(key), f"{value} is not in range", remedy=f"it takes {bounds}")
        return value

    def seconds(self, key: str, default: float, *, positive: bool = False) -> float:
        value = float(self._values.get(key, default))
        if value < 0 or (positive and value == 0):
            raise ConfigError(_flag(key), f"{value:g}s is not in range", remedy="it takes a positive duration")
        return value

    def whole_seconds(self, key: str, default: int) -> int:
        return round(self.seconds(key, default))

    def min_sync_period(self, prefix: str) -> float:
        value = self.seconds(f"{prefix}_min_sync_period", 0.0)
        if value > self.seconds(f"{prefix}_sync_period", 30.0):
            raise ConfigError(
                f"--{prefix}-min-sync-period", f"{value:g}s is longer than --{prefix}-sync-period", remedy="shorten it"
            )
        return value


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


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


def _node_name(override: str) -> str:
    name = override.strip().lower()
    if override and not name:
        raise ConfigError("--hostname-override", "is blank", remedy="give the node's name, or leave the flag out")
    return name or socket.gethostname().strip().lower()


def _counters(value: str) -> str:
    if value not in COUNTERS:
        raise ConfigError("--connection-counters", f"{value!r} is none of {', '.join(COUNTERS)}")
    return value


def _mode(mode: str) -> str:
    if mode in ("", *MODES):
        return mode or "iptables"
    raise ConfigError("--proxy-mode", f"{mode!r} is unknown", remedy=f"use {', '.join(MODES)}")


def _logging_format(form: str) -> str:
    if form not in FORMATS:
        raise ConfigError("--logging-format", f"{form!r} is unknown", remedy=f"use {' or '.join(FORMATS)}")
    return form


def _bind_address(text: str) -> str:
    if not text:
        return ""
    try:
        return parse_ip(text)[1]
    except ValueError:
        raise ConfigError("--bind-address", f"{text!r} is not an IP address", remedy="write 0.0.0.0 or ::") from None


def _listen(values: Mapping[str, Any], server: str, default_port: int) -> str:
    """Return the bind address of a server ("" switches it off), its deprecated port flag applied."""
    address: str = values.get(f"{server}_bind_address", "")
    port: int | None = values.get(f"{server}_port")
    if port is not None and not 0 <= port <= 65535:
        raise ConfigError(f"--{server}-port", f"{port} is not a port", remedy="it takes 0 to 65535")
    if not address or port == 0:
        return ""
    bind = parse_bind(address, field=f"--{server}-bind-address", default_port=default_port)
    if not bind.port and not port:
        raise ConfigError(f"--{server}-bind-address", f"{address!r} names no port", remedy="it takes 1 to 65535")
    return str(bind if port is None else replace(bind, port=port))


def _local(values: Mapping[str, Any]) -> LocalSettings:
    text = values.get("detect_local_mode") or DetectLocalMode.CLUSTER_CIDR
    try:
        mode = DetectLocalMode(text)
    except ValueError:
        known = ", ".join(DetectLocalMode)
        raise ConfigError("--detect-local-mode", f"{text!r} is unknown", remedy=f"use one of {known}") from None
    bridge = _interface(values, "pod_bridge_interface", required=mode is DetectLocalMode.BRIDGE_INTERFACE)
    prefix = _interface(values, "pod_interface_name_prefix", required=mode is DetectLocalMode.INTERFACE_NAME_PREFIX)
    return LocalSettings(mode, _cluster_cidrs(values.get("cluster_cidr", ())), bridge, prefix)


def _interface(values: Mapping[str, Any], key: str, *, required: bool) -> str:
    name = str(values.get(key) or "")
    if required and not name:
        raise ConfigError(
            _flag(key), "is empty", remedy=f"--detect-local-mode {values.get('detect_local_mode')} needs it"
        )
    # A prefix is written with a "+" behind it, within the same limit.
    longest = _MAX_INTERFACE - (key == "pod_interface_name_prefix")
    if name and (len(name) > longest or not _INTERFACE.match(name)):
        raise ConfigError(_flag(key), f"{name!r} is not usable", remedy=f"use up to {longest} plain characters")
    return name


def _cluster_cidrs(texts: tuple[str, ...]) -> tuple[tuple[Family, str], ...]:
    cidrs: dict[Family, str] = {}
    for text in texts:
        try:
            family, cidr = parse_cidr(text)
        except ValueError:
            raise ConfigError(
                "--cluster-cidr", f"{text!r} is not a CIDR", remedy="write it like 10.244.0.0/16"
            ) from None
        if family in cidrs:
            raise ConfigError("--cluster-cidr", f"{text!r} is a second {family} CIDR", remedy="give one per family")
        cidrs[family] = cidr
    return tuple(cidrs.items())


def _node_port_addresses(texts: tuple[str, ...], mode: str) -> tuple[str, ...]:
    """Check the values; what `primary`, the nftables mode's default, stands for is known only when the Node is."""
    parse_node_port_addresses(texts, {})
    return texts or ((PRIMARY,) if mode == "nftables" else ())


def _gates(texts: tuple[str, ...]) -> dict[str, bool]:
    gates: dict[str, bool] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if value.lower() not in TRUE | FALSE:
            raise ConfigError("--feature-gates", f"{text!r} is not NAME=true or NAME=false", remedy="write it so")
        gates[name] = value.lower() in TRUE
    return gates
