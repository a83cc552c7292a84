"""An EndpointSlice as DNS sees it: the endpoints that are ready, their names and their ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from kproxy.dns.names import dashed, pack_ip
from kproxy.dns.services import Port, read_ports
from kproxy.state.addresses import Family, parse_ip
from kproxy.state.labels import is_label
from kproxy.state.mirror import is_mirrored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.kube import wire


class SliceRecord(msgspec.Struct, frozen=True, gc=False):
    """The ready endpoints of one slice.

    `service` is `service_key` of the Service it belongs to. `names` are labels in lower case, b"" for an endpoint
    that is called by its address; () if all are. `mirrored`: the control plane made it of an Endpoints object. `zones`
    are in lower case, () unless they are asked for.
    """

    service: bytes
    addresses: tuple[bytes, ...]
    names: tuple[bytes, ...]
    ports: tuple[Port, ...]
    mirrored: bool = False
    zones: tuple[bytes, ...] = ()

    def named(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (label, address) of every endpoint."""
        for index, address in enumerate(self.addresses):
            yield (self.names[index] if self.names else b"") or dashed(address), address

    def name_at(self, index: int) -> bytes:
        """Return the label of one endpoint."""
        return (self.names[index] if self.names else b"") or dashed(self.addresses[index])


Problem = tuple[str, str]
"""A field, and what is wrong with it."""


def read_slice(
    slice_: wire.EndpointSlice, service: bytes, config: ZoneConfig
) -> tuple[SliceRecord | None, list[Problem]]:
    """Return what DNS takes of a slice (None: its addresses are not IP), and what it had to leave out.

    Only `conditions.ready` counts, and absent is ready: for `publishNotReadyAddresses` the control plane says ready
    of every endpoint.
    """
    if slice_.address_type not in (Family.IPV4, Family.IPV6):
        return None, []
    found: dict[tuple[bytes, bytes], bytes] = {}
    problems: list[Problem] = []
    for index, endpoint in enumerate(slice_.endpoints or ()):
        if endpoint.conditions is not None and endpoint.conditions.ready is False:
            continue
        try:
            family, ip = parse_ip((endpoint.addresses or [""])[0])
        except ValueError:
            family, ip = None, ""
        if family != slice_.address_type:
            problems.append((f"endpoints[{index}].addresses[0]", f"not an {slice_.address_type} address"))
            continue
        name = _name(endpoint, pod_names=config.endpoint_pod_names)
        found[pack_ip(ip), name] = (endpoint.zone or "").lower().encode() if config.zonal else b""
    return SliceRecord(
        service,
        tuple([address for address, _ in found]),
        tuple([name for _, name in found]) if any(name for _, name in found) else (),
        read_ports(slice_.ports or ()),
        is_mirrored(slice_),
        tuple(found.values()) if config.zonal else (),
    ), problems


def _name(endpoint: wire.Endpoint, *, pod_names: bool) -> bytes:
    hostname = (endpoint.hostname or "").lower()
    if not hostname and pod_names and endpoint.target_ref is not None:
        hostname = endpoint.target_ref.name
    return hostname.encode() if is_label(hostname) else b""
