"""A Service as DNS sees it: which addresses, ports or other name it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from kproxy.dns.names import absolute, pack_ip, relative
from kproxy.errors import ObjectError
from kproxy.state.addresses import parse_ip
from kproxy.state.labels import is_label

if TYPE_CHECKING:
    from kproxy.kube import wire

HEADLESS: Final = "None"

Port = tuple[bytes, bytes, int]
"""Name (b"" without one) and protocol in lower case, and number."""


class ServiceRecord(msgspec.Struct, frozen=True, gc=False):
    """What a Service says of itself. One of `addresses`, `headless`, `external_name` is set.

    `addresses` are packed and in the API's order, `external_name` is in wire form.
    """

    addresses: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()
    headless: bool = False
    external_name: bytes = b""


def service_key(namespace: str, name: str) -> bytes:
    """Return `web.shop` as a relative wire name, by which Services are found. Raises ValueError for no labels."""
    if not (is_label(name) and is_label(namespace)):
        raise ValueError(f"{namespace}/{name} is not made of RFC 1123 labels")
    return relative(name.encode(), namespace.encode())


def read_service(service: wire.Service) -> ServiceRecord | None:
    """Return what DNS answers for a Service, None if nothing. Raises `ObjectError` naming the field."""
    meta, spec = service.metadata, service.spec
    where = f"Service {meta.namespace}/{meta.name}"
    if spec.type == "ExternalName":
        target = _external_name(where, spec.external_name or "")
        return ServiceRecord(external_name=target) if target else None
    texts = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    ports = read_ports(spec.ports or ())
    if texts and texts[0] == HEADLESS:
        return ServiceRecord(headless=True, ports=ports)
    try:
        addresses = tuple(dict.fromkeys(pack_ip(parse_ip(text)[1]) for text in texts if text))
    except ValueError as error:
        raise ObjectError(where, "spec.clusterIPs", str(error)) from None
    return ServiceRecord(addresses=addresses, ports=ports) if addresses else None


def read_ports(ports: list[wire.ServicePort] | list[wire.EndpointPort] | tuple[()]) -> tuple[Port, ...]:
    """Return ports as DNS names them; one whose name is no label has no name in DNS either."""
    return tuple(
        dict.fromkeys(
            (_port_name(port.name or ""), (port.protocol or "TCP").lower().encode(), port.port)
            for port in ports
            if port.port and 0 < port.port < 65536
        )
    )


def _port_name(text: str) -> bytes:
    return text.lower().encode() if is_label(text.lower()) else b""


def _external_name(where: str, text: str) -> bytes:
    """Return the target in wire form, b"" for an address: that can't be a CNAME's target."""
    try:
        parse_ip(text)
    except ValueError:
        pass
    else:
        return b""
    try:
        return absolute(text)
    except ValueError as error:
        raise ObjectError(where, "spec.externalName", str(error)) from None
