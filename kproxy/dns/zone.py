"""The cluster's zone: from the objects of the cluster to the answer for a name. Pure; a change costs what it touches.

Names are those of the Kubernetes DNS specification 1.1.0. Existence belongs to a name and not to a type (RFC 8020):
whatever lies above a name that has records exists too, and has no data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.change_log import ChangeLog
from kproxy.dns.codes import AAAA, ANY, CNAME, NOERROR, NS, SOA, TXT, A
from kproxy.dns.holdings import Holdings
from kproxy.dns.names import IN_ADDR, IP6, absolute, is_within, label_starts, pack_ip, relative, undashed
from kproxy.dns.records import Answer, RRset, authority, no_data, no_name, not_ready
from kproxy.dns.reverse import ReverseZones
from kproxy.dns.service_answers import ServiceAnswers
from kproxy.dns.special import special_answer
from kproxy.dns.zonal import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from kproxy.dns.records import Authority
    from kproxy.dns.services import ServiceRecord
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.errors import ObjectError
    from kproxy.sources.changes import Change

SCHEMA_VERSION = b"\x051.1.0"
SCHEMA_TTL = 28800
MAX_CHAIN = 10
"""CNAMEs that are followed."""
_SVC = b"\x03svc"
_POD = b"\x03pod"


class Zone:
    """Names of one cluster.

    `synced` is set by the owner once it has applied all there is: before, a name that is not found may still come.
    `serial` is that of the SOA. Who keeps answers looks at `generation`.
    """

    def __init__(self, config: ZoneConfig) -> None:
        self.config = config
        self.serial = 1
        self.authority = authority(absolute(config.domain))
        self._log = ChangeLog()
        self._synced = False
        self._holdings = Holdings(config)
        self._answers = ServiceAnswers(config, self.authority, self._holdings)
        self._addresses = tuple(pack_ip(text) for text in config.addresses)
        self._reverse = ReverseZones(config, self._answers, self._apex)
        self._fallthrough = [absolute(text.lower()) for text in config.fallthrough]

    @property
    def synced(self) -> bool:
        """Whether everything there is was applied once."""
        return self._synced

    @synced.setter
    def synced(self, value: bool) -> None:
        self._synced = value
        self._log.note(None)

    def apply(self, changes: Iterable[Change], *, serial: int | None = None) -> None:
        """Take changes in: Services, EndpointSlices, Endpoints, Namespaces, Pods; other kinds are passed over.

        `serial` is the SOA's from now on, by custom the time in seconds.
        """
        touched = False
        for change in changes:
            touched |= self._holdings.apply(change)
        services = self._holdings.take_touched()
        self._answers.forget(services)
        if touched:
            self._log.note(services)
            self.serial = self.serial if serial is None else serial

    @property
    def generation(self) -> int:
        """A number that grows with every change that may change an answer."""
        return self._log.generation

    def changed_since(self, generation: int) -> AbstractSet[bytes] | None:
        """Return the keys of the Services that changed since that generation; None: too much to tell.

        Whatever else changed (namespaces, Pods, who has an address) is not told: see `depends_on`.
        """
        return self._log.since(generation)

    def depends_on(self, name: bytes, starts: list[int]) -> bytes | None:
        """Return the key of the only Service that answers for a name depend on, b"" for none, None for anything.

        Where a CNAME leads on, what it leads to counts as well.
        """
        left = len(starts) - self.authority.labels
        if left < 0 or name[starts[left] :] != self.authority.name:
            return None if name.endswith((IN_ADDR, IP6)) else b""
        if left > 2 and name[starts[left - 1] : starts[left]] == _SVC:
            return name[starts[left - 3] : starts[left - 1]]
        fixed = left > 0 and name[starts[left - 1] : starts[left]] not in (_SVC, _POD)
        return b"" if fixed else None

    def problems(self) -> list[ObjectError]:
        """Return the objects, or parts of them, that have no place in DNS, in a stable order."""
        return self._holdings.problems()

    def names(self) -> Iterator[tuple[bytes, tuple[int, ...]]]:
        """Yield the names of Services and of what is below them, without the zone's, each with the types it may have.

        What changes meanwhile may be missed.
        """
        for key, service in sorted(self._holdings.services.items()):
            yield from self._answers.names(key, service)

    def find(self, name: bytes, starts: list[int], qtype: int) -> Answer | None:
        """Return the answer for a name (lower case, wire form, its labels begin at `starts`), None if not ours."""
        answer = self._find(name, starts, qtype, (name,))
        if answer is None:
            return special_answer(name, starts, qtype)
        if answer.rcode == NOERROR:
            return answer
        if not self._synced:
            return not_ready(answer.zone)
        if self._fallthrough and any(is_within(name, starts, zone) for zone in self._fallthrough):
            return None
        return answer

    def _find(self, name: bytes, starts: list[int], qtype: int, seen: tuple[bytes, ...]) -> Answer | None:
        zone = self.authority
        left = len(starts) - zone.labels
        if left < 0 or name[starts[left] :] != zone.name:
            return self._reverse.find(name, starts, qtype, synced=self._synced)
        if not left:
            return self._apex(qtype, zone)
        kind = name[starts[left - 1] : starts[left]]
        if kind == _SVC:
            return self._service(name, starts, left, qtype, seen)
        if kind == _POD:
            return self._pod(name, starts, left, qtype)
        return self._other(name[: starts[left]], qtype)

    def _service(self, name: bytes, starts: list[int], left: int, qtype: int, seen: tuple[bytes, ...]) -> Answer:
        if left == 1:
            return no_data(self.authority, qtype)
        if left == 2:
            exists = self._holdings.namespace_exists(name[starts[0] : starts[1]])
            return no_data(self.authority, qtype) if exists else no_name(self.authority)
        key = name[starts[left - 3] : starts[left - 1]]
        service = self._holdings.services.get(key)
        if service is None or (self.config.ignore_empty_service and self._is_empty(key, service)):
            return no_name(self.authority)
        if service.external_name:
            return self._alias(service, qtype, seen) if left == 3 else no_name(self.authority)
        if service.headless and not self._synced:
            return no_name(self.authority)  # some of its endpoints may still come
        if left == 3:
            return self._answers.of_service(key, service, qtype)
        if self.config.zonal and name[starts[left - 4] + 1 : starts[left - 3]] == MARK:
            labels = [name[starts[at] + 1 : starts[at + 1]] for at in range(left - 4)]
            return self._answers.of_zone(key, service, labels, qtype)
        if left == 4:
            return self._answers.of_endpoint(key, service, name[1 : starts[1]], qtype)
        if left == 5:
            return self._answers.of_port(key, service, name[1 : starts[1]], name[starts[1] + 1 : starts[2]], qtype)
        return no_name(self.authority)

    def _is_empty(self, key: bytes, service: ServiceRecord) -> bool:
        return bool(service.addresses) and not any(slice_.addresses for slice_ in self._holdings.slices_of(key))

    def _alias(self, service: ServiceRecord, qtype: int, seen: tuple[bytes, ...]) -> Answer:
        """Return the CNAME of an ExternalName Service, for every type (RFC 1034), and what its target has."""
        target = service.external_name
        cname = RRset(CNAME, self.config.ttl, (target,))
        if qtype in (CNAME, ANY):
            return Answer(self.authority, answer=(cname,))
        key = target.lower()
        starts = label_starts(key)
        ends = key in seen or len(seen) == MAX_CHAIN
        rest = no_data(self.authority) if ends else self._find(key, starts, qtype, (*seen, key))
        if rest is None:
            return Answer(self.authority, answer=(cname,), pursue=key)
        chain = (cname, *[_owned(rrset, target) for rrset in rest.answer])
        return Answer(self.authority, rest.rcode, chain, rest.glue, rest.pursue, negative=rest.negative)

    def _pod(self, name: bytes, starts: list[int], left: int, qtype: int) -> Answer:
        if left == 1:
            return no_data(self.authority, qtype)
        namespace = name[starts[left - 2] : starts[left - 1]]
        if self.config.pods == "disabled" or not self._holdings.namespace_exists(namespace) or left > 3:
            return no_name(self.authority)
        if left == 2:
            return no_data(self.authority, qtype)
        address = undashed(name[1 : starts[1]])
        if address is None:
            return no_name(self.authority)
        if self.config.pods == "verified" and not self._holdings.pods.holds(namespace, address):
            return no_name(self.authority)
        return self._addresses_answer((address,), qtype)

    def _other(self, rest: bytes, qtype: int) -> Answer:
        """Return the answer for what the zone holds beside Services and Pods."""
        if rest == b"\x0bdns-version":
            if qtype == TXT:
                return Answer(self.authority, answer=(RRset(TXT, SCHEMA_TTL, (SCHEMA_VERSION,)),))
            return no_data(self.authority, qtype)
        if rest == b"\x03dns":
            return no_data(self.authority, qtype)
        if rest == b"\x02ns\x03dns":
            return self._addresses_answer(self._addresses, qtype)
        return no_name(self.authority)

    def _apex(self, qtype: int, zone: Authority) -> Answer:
        if qtype == SOA:
            return Answer(zone, answer=(RRset(SOA, min(self.config.ttl, 300), (b"",)),))
        if qtype == NS:
            servers = self._answers.name_servers(self._addresses) or {relative(b"ns", b"dns"): self._addresses}
            if zone is self.authority:
                names = RRset(NS, self.config.ttl, tuple(servers), relative=True)
                return Answer(zone, answer=(names,), glue=servers)
            whole = tuple([name + self.authority.name for name in servers])
            return Answer(zone, answer=(RRset(NS, self.config.ttl, whole),))
        return no_data(zone, qtype)

    def _addresses_answer(self, addresses: tuple[bytes, ...], qtype: int) -> Answer:
        size = {A: 4, AAAA: 16}.get(qtype)
        rdata = tuple(address for address in addresses if len(address) == size)
        if not rdata:
            return no_data(self.authority, qtype)
        return Answer(self.authority, answer=(RRset(qtype, self.config.ttl, rdata),))


def _owned(rrset: RRset, owner: bytes) -> RRset:
    """Return records that belong to the name asked as records of another."""
    if rrset.owner:
        return rrset
    return RRset(rrset.type, rrset.ttl, rrset.rdata, owner, relative=rrset.relative)
