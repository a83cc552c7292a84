"""What an operator decides about the zone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from kproxy.dns.names import absolute, reverse_zone
from kproxy.errors import ConfigError
from kproxy.state.labels import is_label

POD_MODES: Final = ("disabled", "insecure", "verified")
MAX_TTL: Final = 3600


@dataclass(frozen=True)
class ZoneConfig:
    """The zone's name and how it answers. Raises `ConfigError` naming the field.

    Attributes:
        domain: the cluster domain.
        ttl: of every record, seconds, 0 to 3600; negative answers too.
        pods: "insecure" answers `1-2-3-4.NAMESPACE.pod` for any address, "verified" for those that a Pod of the
            namespace has, "disabled" for none.
        addresses: where the server listens; what `ns.dns` and the zone's NS records lead to.
        reverse: networks whose reverse zones are ours: an unknown address there does not exist. Of all others known
            addresses are answered, and unknown ones are somebody else's to answer.
        namespaces: the only ones that exist; empty: all.
        endpoint_pod_names: an endpoint without hostname is called as its Pod.
        zonal: headless Services have names for the endpoints of one zone (`zonal.py`).
        ignore_empty_service: a ClusterIP Service without a ready endpoint does not exist.
        no_endpoints: no names of endpoints, no headless Services.
        fallthrough: zones (as text; "." is all) in which a name that does not exist is somebody else's to answer.

    """

    domain: str = "cluster.local"
    ttl: int = 5
    pods: str = "insecure"
    addresses: tuple[str, ...] = ()
    reverse: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    endpoint_pod_names: bool = False
    zonal: bool = False
    ignore_empty_service: bool = False
    no_endpoints: bool = False
    fallthrough: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            if absolute(self.domain) == b"\0":
                raise ValueError("the root can't be the cluster's domain")
        except ValueError as error:
            raise ConfigError("clusterDomain", str(error), remedy="name a domain, as in cluster.local") from None
        if not 0 <= self.ttl <= MAX_TTL:
            raise ConfigError("dns.ttl", f"{self.ttl} is not in 0..{MAX_TTL} seconds")
        if self.pods not in POD_MODES:
            raise ConfigError("dns.pods", f"{self.pods!r} is not one of {', '.join(POD_MODES)}")
        if self.zonal and self.no_endpoints:
            raise ConfigError("dns.zonal", "needs the endpoints that noEndpoints leaves out", remedy="drop one of them")
        for text in self.namespaces:
            if not is_label(text):
                raise ConfigError("dns.namespaces", f"{text!r} is not the name of a namespace")
        for field, texts, parse in (
            ("dns.reverse", self.reverse, reverse_zone),
            ("dns.addresses", self.addresses, ipaddress.ip_address),
            ("dns.fallthrough", self.fallthrough, absolute),
        ):
            for text in texts:
                try:
                    parse(text)
                except ValueError as error:
                    raise ConfigError(field, str(error)) from None
