"""The records of one Service: its own name, its endpoints' and its ports'.

What a headless Service answers is put together when it is first asked for after a change, and kept until the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.codes import AAAA, CNAME, SRV, A
from kproxy.dns.names import MAX_NAME, relative
from kproxy.dns.records import Answer, RRset, no_data, no_name
from kproxy.dns.zonal import MARK, PIN, PREFER, in_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kproxy.dns.holdings import Holdings
    from kproxy.dns.records import Authority
    from kproxy.dns.services import Port, ServiceRecord
    from kproxy.dns.slices import SliceRecord
    from kproxy.dns.zone_config import ZoneConfig

_SVC = b"\x03svc"
_SIZE = {A: 4, AAAA: 16}
"""The length of an address, by the type of its record."""

Named = dict[bytes, tuple[bytes, ...]]
"""Addresses by the label of the endpoint that has them."""


class ServiceAnswers:
    """Answers for names at and below Services. `config` and `holdings` are the zone's."""

    def __init__(self, config: ZoneConfig, authority: Authority, holdings: Holdings) -> None:
        self._config = config
        self._authority = authority
        self._holdings = holdings
        self._kept: dict[bytes, dict[object, Answer]] = {}
        self._kept_names: dict[bytes, Named] = {}

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop what was kept of Services that changed."""
        for key in keys:
            self._kept.pop(key, None)
            self._kept_names.pop(key, None)

    def of_service(self, key: bytes, service: ServiceRecord, qtype: int) -> Answer:
        """Return the answer for a Service's own name."""
        if service.headless:
            return self._headless(key, None, qtype)
        return self._cluster(key, service, service.ports, qtype)

    def of_endpoint(self, key: bytes, service: ServiceRecord, label: bytes, qtype: int) -> Answer:
        """Return the answer for an endpoint's name; Services with a cluster IP have such names too."""
        addresses = self._names(key).get(label)
        if not addresses:
            above = label.removeprefix(b"_")
            ports = self._slice_ports(key) if service.headless else service.ports
            exists = any(protocol == above and name for name, protocol, _ in ports)
            return no_data(self._authority, qtype) if exists else no_name(self._authority)
        if qtype == SRV:
            owned = frozenset(addresses)
            # Most slices of a big Service have none of them, which is soon seen.
            slices = [one for one in self._holdings.slices_of(key) if not owned.isdisjoint(one.addresses)]
            return self._srv(key, [found for found in _endpoint_ports(slices, None) if found[0] == label])
        if len(addresses) > 1:
            return self._once(key, (label, qtype), lambda: self._of_addresses(addresses, qtype))
        return self._of_addresses(addresses, qtype)

    def of_port(self, key: bytes, service: ServiceRecord, port: bytes, protocol: bytes, qtype: int) -> Answer:
        """Return the answer for `_port._protocol` of a Service. CoreDNS needs no underscores, and so it is here."""
        wanted = (port.removeprefix(b"_"), protocol.removeprefix(b"_"))
        if service.headless:
            return self._headless(key, wanted, qtype)
        ports = tuple(one for one in service.ports if one[:2] == wanted and one[0])
        return self._cluster(key, service, ports, qtype) if ports else no_name(self._authority)

    def of_zone(self, key: bytes, service: ServiceRecord, labels: list[bytes], qtype: int) -> Answer:
        """Return the answer for a name with `_zone`; `labels` are those before it: the zone's, and what to do."""
        if not service.headless or (labels and labels[-1] not in (PIN, PREFER)):
            return no_name(self._authority)
        slices = list(self._holdings.slices_of(key))
        if not any(slice_.addresses for slice_ in slices):
            return no_name(self._authority)
        if len(labels) < 2:
            return no_data(self._authority, qtype)
        zone = b".".join(labels[:-1])
        found = in_zone(slices, zone)
        if not found:
            return self._headless(key, None, qtype) if labels[-1] == PREFER else no_data(self._authority, qtype)
        return self._once(key, (MARK, zone, qtype), lambda: self._of_slices(key, found, None, qtype))

    def names(self, key: bytes, service: ServiceRecord) -> Iterator[tuple[bytes, tuple[int, ...]]]:
        """Yield the names that a Service has, without the zone's, and the types that each may have."""
        name = key + _SVC
        if service.external_name:
            yield name, (CNAME,)
            return
        ports = self._slice_ports(key) if service.headless else service.ports
        yield name, (A, AAAA) if service.headless else (A, AAAA, SRV)
        if service.headless:
            for label in self._names(key):
                yield relative(label) + name, (A, AAAA)
        for port, protocol, _ in dict.fromkeys(ports):
            if port:
                yield relative(b"_" + port, b"_" + protocol) + name, (SRV,)

    def names_of(self, address: bytes) -> tuple[bytes, ...]:
        """Return the names (wire form) that the owners of an address have."""
        services = self._holdings.services_at(address)
        if services:
            name = min(services) + _SVC + self._authority.name
            return (name,) if len(name) <= MAX_NAME else ()
        found = {
            relative(slice_.name_at(index)) + slice_.service
            for slice_ in self._holdings.endpoints_at(address)
            for index, one in enumerate(slice_.addresses)
            if one == address
        }
        names = [name + _SVC + self._authority.name for name in sorted(found)]
        return tuple(name for name in names if len(name) <= MAX_NAME)

    def name_servers(self, addresses: Iterable[bytes]) -> dict[bytes, tuple[bytes, ...]]:
        """Return the Services that the server itself stands behind: names, relative to the zone, and addresses."""
        found: dict[bytes, tuple[bytes, ...]] = {}
        for address in addresses:
            keys = {*self._holdings.services_at(address)}
            keys |= {slice_.service for slice_ in self._holdings.endpoints_at(address)}
            for key in sorted(keys & self._holdings.services.keys()):
                service = self._holdings.services[key]
                if service.headless:
                    for label, owned in self._names(key).items():
                        if address in owned:
                            found[relative(label) + key + _SVC] = owned
                elif service.addresses:
                    found[key + _SVC] = service.addresses
        return found

    def _cluster(self, key: bytes, service: ServiceRecord, ports: Sequence[Port], qtype: int) -> Answer:
        if qtype != SRV:
            return self._of_addresses(service.addresses, qtype)
        if not ports:
            return no_data(self._authority)
        weight = max(1, 100 // (len(ports) * len(service.addresses)))
        target = key + _SVC
        rdata = tuple(dict.fromkeys(_srv_data(weight, number, target) for _, _, number in ports))
        return Answer(
            self._authority,
            answer=(RRset(SRV, self._config.ttl, rdata, relative=True),),
            glue={target: service.addresses},
        )

    def _headless(self, key: bytes, wanted: tuple[bytes, bytes] | None, qtype: int) -> Answer:
        """Return the answer for a headless Service, or one of its ports."""
        return self._once(key, (wanted, qtype), lambda: self._make_headless(key, wanted, qtype))

    def _once(self, key: bytes, what: object, make: Callable[[], Answer]) -> Answer:
        """Return what was made of a Service before, or make it. The same records serve everybody who asks for them."""
        kept = self._kept.get(key)
        answer = kept.get(what) if kept is not None else None
        if answer is None:
            answer = make()
            # What does not exist is not kept: anybody can ask for any number of such names.
            if answer.answer:
                self._kept.setdefault(key, {})[what] = answer
        return answer

    def _make_headless(self, key: bytes, wanted: tuple[bytes, bytes] | None, qtype: int) -> Answer:
        slices = [
            slice_
            for slice_ in self._holdings.slices_of(key)
            if slice_.addresses and (wanted is None or any(port[:2] == wanted and port[0] for port in slice_.ports))
        ]
        if not slices:
            return no_name(self._authority)
        return self._of_slices(key, slices, wanted, qtype)

    def _of_slices(
        self, key: bytes, slices: list[SliceRecord], wanted: tuple[bytes, bytes] | None, qtype: int
    ) -> Answer:
        if qtype != SRV:
            return self._of_addresses([address for slice_ in slices for address in slice_.addresses], qtype)
        return self._srv(key, _endpoint_ports(slices, wanted))

    def _srv(self, key: bytes, found: Iterable[tuple[bytes, bytes, Port]]) -> Answer:
        """Return SRV records for (label, address, port) triples, each once."""
        suffix = key + _SVC
        targets: dict[bytes, dict[bytes, None]] = {}
        candidates: set[tuple[bytes, bytes, Port]] = set()
        numbers: dict[tuple[bytes, int], None] = {}
        longest = MAX_NAME - len(self._authority.name)
        for candidate in found:
            label, address, port = candidate
            target = b"%c%b%b" % (len(label), label, suffix)
            if len(target) <= longest:
                candidates.add(candidate)
                targets.setdefault(target, {})[address] = None
                numbers[target, port[2]] = None
        if not candidates:
            return no_data(self._authority)
        weight = max(1, 100 // len(candidates))
        rdata = tuple([_srv_data(weight, number, target) for target, number in numbers])
        return Answer(self._authority, answer=(RRset(SRV, self._config.ttl, rdata, relative=True),), glue=targets)

    def _of_addresses(self, addresses: Iterable[bytes], qtype: int) -> Answer:
        size = _SIZE.get(qtype)
        if size is None:
            return no_data(self._authority, qtype)
        rdata = tuple(dict.fromkeys(address for address in addresses if len(address) == size))
        if not rdata:
            return no_data(self._authority)
        return Answer(self._authority, answer=(RRset(qtype, self._config.ttl, rdata),))

    def _names(self, key: bytes) -> Named:
        """Return the endpoints of a Service by their labels."""
        named = self._kept_names.get(key)
        if named is None:
            found: dict[bytes, dict[bytes, None]] = {}
            for slice_ in self._holdings.slices_of(key):
                for label, address in slice_.named():
                    found.setdefault(label, {})[address] = None
            named = {label: tuple(addresses) for label, addresses in found.items()}
            if named:
                self._kept_names[key] = named
        return named

    def _slice_ports(self, key: bytes) -> list[Port]:
        return [port for slice_ in self._holdings.slices_of(key) if slice_.addresses for port in slice_.ports]


def _endpoint_ports(
    slices: Iterable[SliceRecord], wanted: tuple[bytes, bytes] | None
) -> Iterator[tuple[bytes, bytes, Port]]:
    for slice_ in slices:
        ports = [port for port in slice_.ports if wanted is None or port[:2] == wanted]
        for label, address in slice_.named():
            for port in ports:
                yield label, address, port


def _srv_data(weight: int, number: int, target: bytes) -> bytes:
    return b"\0\0" + weight.to_bytes(2) + number.to_bytes(2) + target
