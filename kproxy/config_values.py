"""What a setting may be: the text or number of a flag, or of a field of the file, becomes a value, or a `ConfigError`.

The rules are those of kube-proxy's v1alpha1 validation. Everything here raises `ConfigError` that names the flag.
"""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from kproxy.errors import ConfigError, ConfigErrors
from kproxy.health.bind import parse_bind
from kproxy.plan.ipvs.scheduling import DEFAULT_SCHEDULER
from kproxy.plan.local_traffic import DetectLocalMode, LocalSettings
from kproxy.plan.node_ports import PRIMARY, parse_node_port_addresses
from kproxy.state.addresses import Family, parse_cidr, parse_ip
from kproxy.state.service import IPVS_SCHEDULERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

TRUE, FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})
"""How Go writes truth (strconv.ParseBool), in lower case."""

MODES = ("iptables", "nftables", "ipvs")
COUNTERS = ("none", "services", "endpoints")
VARIANTS = ("auto", "legacy", "nft")
_INTERFACE = re.compile(r"[^\s/+!\"'\\]+\Z")
_MAX_INTERFACE = 15


class Problems:
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
        """Raise what was collected, if anything."""
        if self._errors:
            raise self._errors[0] if len(self._errors) == 1 else ConfigErrors(self._errors)


class Checked:
    """Numbers within their bounds."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def number(self, key: str, default: int, low: int, high: int | None = None) -> int:
        """Return a whole number from `low` to `high`."""
        value = int(self._values.get(key, default))
        if value < low or (high is not None and value > high):
            bounds = f"{low} to {high}" if high is not None else f"{low} or more"
            raise ConfigError(_flag(key), f"{value} is not in range", remedy=f"it takes {bounds}")
        return value

    def seconds(self, key: str, default: float, *, positive: bool = False) -> float:
        """Return a duration that is not negative, nor zero where it must be `positive`."""
        value = float(self._values.get(key, default))
        if value < 0 or (positive and value == 0):
            raise ConfigError(_flag(key), f"{value:g}s is not in range", remedy="it takes a positive duration")
        return value

    def whole_seconds(self, key: str, default: int) -> int:
        """Return a duration in whole seconds."""
        return round(self.seconds(key, default))

    def min_sync_period(self, prefix: str) -> float:
        """Return --PREFIX-min-sync-period, which is no longer than --PREFIX-sync-period."""
        value = self.seconds(f"{prefix}_min_sync_period", 0.0)
        longest = float(self._values.get(f"{prefix}_sync_period", 30.0))
        if value > longest > 0:
            raise ConfigError(
                f"--{prefix}-min-sync-period", f"{value:g}s is longer than --{prefix}-sync-period", remedy="shorten it"
            )
        return value


def scheduler(name: str) -> str:
    """Return --ipvs-scheduler, or its default."""
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


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def node_name(override: str) -> str:
    """Return the node's name as Kubernetes has it: in lower case; the host's without --hostname-override."""
    name = override.strip().lower()
    if override and not name:
        raise ConfigError("--hostname-override", "is blank", remedy="give the node's name, or leave the flag out")
    return name or socket.gethostname().strip().lower()


def counters(value: str) -> str:
    """Return --connection-counters."""
    if value not in COUNTERS:
        raise ConfigError("--connection-counters", f"{value!r} is unknown", remedy=f"use {', '.join(COUNTERS)}")
    return value


def iptables_variant(value: str) -> str:
    """Return --iptables-variant."""
    if value not in VARIANTS:
        raise ConfigError("--iptables-variant", f"{value!r} is unknown", remedy=f"use {', '.join(VARIANTS)}")
    return value


def proxy_mode(mode: str) -> str:
    """Return --proxy-mode, or its default."""
    if mode in ("", *MODES):
        return mode or "iptables"
    raise ConfigError("--proxy-mode", f"{mode!r} is unknown", remedy=f"use {', '.join(MODES)}")


def bind_address(text: str) -> str:
    """Return --bind-address in canonical form, "" for none."""
    if not text:
        return ""
    try:
        return parse_ip(text)[1]
    except ValueError:
        raise ConfigError("--bind-address", f"{text!r} is not an IP address", remedy="write 0.0.0.0 or ::") from None


def listen_address(values: Mapping[str, Any], server: str, default_port: int) -> str:
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


def local_settings(values: Mapping[str, Any]) -> LocalSettings:
    """Return what --detect-local-mode and the flags that belong to it say."""
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


def node_port_addresses(texts: tuple[str, ...], mode: str) -> tuple[str, ...]:
    """Check the values; what `primary`, the nftables mode's default, stands for is known only when the Node is."""
    parse_node_port_addresses(texts, {})
    return texts or ((PRIMARY,) if mode == "nftables" else ())


def feature_gates(texts: tuple[str, ...]) -> dict[str, bool]:
    """Return --feature-gates by name."""
    gates: dict[str, bool] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if value.lower() not in TRUE | FALSE:
            raise ConfigError("--feature-gates", f"{text!r} is not NAME=true or NAME=false", remedy="write it so")
        gates[name] = value.lower() in TRUE
    return gates
