"""What `kproxy dns` was told, checked. Every error names its flag."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kproxy.dns.resolv_conf import MOST, parse_upstream
from kproxy.dns.zone_config import ZoneConfig
from kproxy.errors import ConfigError
from kproxy.health.bind import BindAddress, parse_bind
from kproxy.logs import logging_format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kproxy.dns.exchange import Upstream

DNS_PORT = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """Everything that was decided before the service starts.

    `addresses` are all that it listens on, also `node_local` and `intercept`, which it makes. `upstreams` empty: those
    of the node's resolv.conf.
    """

    addresses: tuple[BindAddress, ...]
    zone: ZoneConfig
    node_local: tuple[BindAddress, ...] = ()
    intercept: tuple[BindAddress, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    transfer_to: tuple[str, ...] = ()
    workers: int = 1
    http_bind_address: str = "127.0.0.1:9153"
    ready_file: Path | None = None
    manifests: Path | None = None
    kubeconfig: Path | None = None
    master: str = ""
    verbosity: int = 0
    logging_format: str = "text"

    def arguments(self) -> list[str]:
        """Return the command line of `kproxy dns` that says the same."""
        lists = {
            "--dns-bind-address": [str(address) for address in self.given],
            "--dns-node-local": [address.host for address in self.node_local],
            "--dns-intercept": [address.host for address in self.intercept],
            "--dns-upstream": [str(upstream) for upstream in self.upstreams],
            "--dns-reverse": list(self.zone.reverse),
            "--dns-namespaces": list(self.zone.namespaces),
            "--dns-transfer-to": list(self.transfer_to),
            "--dns-fallthrough": list(self.zone.fallthrough),
        }
        values = {
            "--manifests": str(self.manifests or ""),
            "--kubeconfig": str(self.kubeconfig or ""),
            "--master": self.master,
            "--cluster-domain": self.zone.domain,
            "--dns-ttl": str(self.zone.ttl),
            "--dns-pods": self.zone.pods,
            "--dns-endpoint-pod-names": "true" if self.zone.endpoint_pod_names else "",
            "--dns-zonal": "true" if self.zone.zonal else "",
            "--dns-ignore-empty-service": "true" if self.zone.ignore_empty_service else "",
            "--dns-no-endpoints": "true" if self.zone.no_endpoints else "",
            "--dns-workers": str(self.workers),
            "--dns-ready-file": str(self.ready_file or ""),
            "--v": str(self.verbosity),
            "--logging-format": self.logging_format,
        } | {flag: ",".join(parts) for flag, parts in lists.items()}
        said = [f"{flag}={value}" for flag, value in values.items() if value]
        return [*said, f"--dns-metrics-bind-address={self.http_bind_address}"]

    @property
    def made(self) -> tuple[BindAddress, ...]:
        """The addresses that it makes itself."""
        return (*self.node_local, *self.intercept)

    @property
    def given(self) -> tuple[BindAddress, ...]:
        """The addresses that must be there."""
        return tuple(address for address in self.addresses if address not in self.made)

    def is_own(self, upstream: Upstream) -> bool:
        """Tell whether an upstream is an address that this very service listens on."""
        return any(
            (upstream.port == own.port and (own.all_addresses and ip_address(upstream.address).is_loopback))
            or (upstream.address, upstream.port) == (own.host, own.port)
            for own in self.addresses
        )


def build_dns_config(values: Mapping[str, Any]) -> DnsConfig:
    """Build the configuration from flag values by key (`dns_bind_address`, ...). Raises `ConfigError`."""
    get = values.get
    node_local = _made(get("dns_node_local"), "--dns-node-local")
    intercept = _made(get("dns_intercept"), "--dns-intercept")
    addresses = (*(_bind(text) for text in get("dns_bind_address") or ()), *node_local, *intercept)
    if not addresses:
        raise ConfigError("--dns-bind-address", "is missing", remedy="give the addresses to answer on, as IP:PORT")
    if len(set(addresses)) < len(addresses):
        flags = "--dns-bind-address, --dns-node-local, --dns-intercept"
        raise ConfigError(flags, "an address is there twice", remedy="name each once")
    workers = int(get("dns_workers", 1))
    if not 1 <= workers <= 64:
        raise ConfigError("--dns-workers", f"{workers} is not in range", remedy="it takes 1 to 64")
    http_bind = get("dns_metrics_bind_address", "")
    if http_bind:
        http_bind = str(parse_bind(http_bind, field="--dns-metrics-bind-address", default_port=9153))
    config = DnsConfig(
        addresses=addresses,
        zone=_zone(values, addresses),
        node_local=node_local,
        intercept=intercept,
        upstreams=tuple(parse_upstream(text, field="--dns-upstream") for text in get("dns_upstream") or ()),
        transfer_to=tuple(_network(text) for text in get("dns_transfer_to") or ()),
        workers=workers,
        http_bind_address=http_bind,
        ready_file=Path(str(get("dns_ready_file"))) if get("dns_ready_file") else None,
        manifests=Path(str(get("manifests"))) if get("manifests") else None,
        kubeconfig=Path(str(get("kubeconfig"))) if get("kubeconfig") else None,
        master=get("master", ""),
        verbosity=int(get("verbosity", 0)),
        logging_format=logging_format(get("logging_format", "text")),
    )
    for upstream in config.upstreams:
        if config.is_own(upstream):
            raise ConfigError("--dns-upstream", f"{upstream} is this server itself", remedy="name another one")
    if len(config.upstreams) > MOST:
        raise ConfigError("--dns-upstream", f"names more than {MOST} servers", remedy="a few are enough")
    return config


def _bind(text: str) -> BindAddress:
    address = parse_bind(text, field="--dns-bind-address", default_port=DNS_PORT)
    if not address.host:
        raise ConfigError(
            "--dns-bind-address", f"{text!r} names no address", remedy="write 0.0.0.0:53 or [::]:53 for all"
        )
    if not address.port:
        raise ConfigError("--dns-bind-address", f"{text!r} names no port", remedy="53 is the one that resolvers use")
    return address


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        remedy = "write an address, or a network like 10.0.0.0/8"
        raise ConfigError("--dns-transfer-to", str(error), remedy=remedy) from None


def _made(texts: Sequence[str] | None, flag: str) -> tuple[BindAddress, ...]:
    """Read addresses that are to be made; they have no port but DNS's own."""
    found = []
    for text in texts or ():
        try:
            address = ip_address(text)
        except ValueError:
            raise ConfigError(flag, f"{text!r} is not an IP address", remedy="write it like 169.254.20.10") from None
        if address.is_unspecified or address.is_loopback or (address.version == 6 and address.is_link_local):
            remedy = "take one of 169.254.0.0/16, or an IPv6 one of fd00::/8"
            raise ConfigError(flag, f"pods can't ask {text}", remedy=remedy)
        found.append(BindAddress(str(address), DNS_PORT))
    return tuple(found)


def _zone(values: Mapping[str, Any], addresses: tuple[BindAddress, ...]) -> ZoneConfig:
    flags = {
        "clusterDomain": "--cluster-domain",
        "dns.ttl": "--dns-ttl",
        "dns.pods": "--dns-pods",
        "dns.reverse": "--dns-reverse",
        "dns.namespaces": "--dns-namespaces",
        "dns.fallthrough": "--dns-fallthrough",
        "dns.zonal": "--dns-zonal",
    }
    try:
        return ZoneConfig(
            domain=values.get("cluster_domain") or "cluster.local",
            ttl=int(values.get("dns_ttl", 5)),
            pods=values.get("dns_pods") or "insecure",
            addresses=tuple(one.host for one in addresses if not one.all_addresses),
            reverse=tuple(values.get("dns_reverse") or ()),
            namespaces=tuple(values.get("dns_namespaces") or ()),
            fallthrough=tuple(values.get("dns_fallthrough") or ()),
            endpoint_pod_names=bool(values.get("dns_endpoint_pod_names")),
            zonal=bool(values.get("dns_zonal")),
            ignore_empty_service=bool(values.get("dns_ignore_empty_service")),
            no_endpoints=bool(values.get("dns_no_endpoints")),
        )
    except ConfigError as error:
        raise ConfigError(flags.get(error.field, error.field), error.reason, remedy=error.remedy) from None
