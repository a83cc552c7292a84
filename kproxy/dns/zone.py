"""The cluster's zone: from the objects of the cluster to the answer for a name. Pure; a change costs what it touches.

Names are those of the Kubernetes DNS specification 1.1.0. Existence belongs to a name and not to a type (RFC 8020):
whatever lies above a name that has records exists too, and has no data.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kproxy.dns.codes import AAAA, ANY, CNAME, NS, PTR, SOA, TXT, A
from kproxy.dns.holdings import Holdings
from kproxy.dns.names import IN_ADDR, IP6, absolute, address_of_reverse, pack_ip, relative, reverse_zone, undashed
from kproxy.dns.records import Answer, Authority, RRset, no_data, no_name, not_ready
from kproxy.dns.service_answers import ServiceAnswers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from kproxy.dns.services import ServiceRecord
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.errors import ObjectError
    from kproxy.sources.changes import Change

SCHEMA_VERSION = b"\x051.1.0"
SCHEMA_TTL = 28800
MAX_CHAIN = 10
REMEMBERED = 256
"""Changes of which `changed_since` still knows what they touched."""
_SVC = b"\x03svc"
_POD = b"\x03pod"


class Zone:
    """Names of one cluster.

    `generation` grows with every change that may change an answer: who keeps answers drops them then. `synced` is
    set by the owner once it has applied all there is: before, a name that is not found may still come. `serial` is
    that of the SOA.
    """

    def __init__(self, config: ZoneConfig) -> None:
        self.config = config
        self.generation = 0
        self.serial = 1
        self._log: deque[tuple[int, AbstractSet[bytes] | None]] = deque(maxlen=REMEMBERED)
        self.authority = _authority(absolute(config.domain))
        self._synced = False
        self._holdings = Holdings(frozenset(name.encode() for name in config.namespaces))
        self._answers = ServiceAnswers(config, self.authority, self._holdings)
        self._addresses = tuple(pack_ip(text) for text in config.addresses)
        self._reverse = sorted(
            (_authority(reverse_zone(cidr)) for cidr in config.reverse), key=lambda zone: -len(zone.name)
        )
        self._fallthrough = [absolute(text.lower()) for text in config.fallthrough]

    @property
    def synced(self) -> bool:
        """Whether everything there is was applied once."""
        return self._synced

    @synced.setter
    def synced(self, value: bool) -> None:
        self._synced = value
        self._changed(None)

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
            self._changed(services)
            self.serial = self.serial if serial is None else serial

    def changed_since(self, generation: int) -> AbstractSet[bytes] | None:
        """Return the keys of the Services that changed since that generation; None: too much to tell.

        Whatever else changed (namespaces, Pods, who has an address) is not told: see `depends_on`.
        """
        if not self._log or self._log[0][0] > generation + 1:
            return None
        changed: set[bytes] = set()
        for at, services in reversed(self._log):
            if at <= generation:
                break
            if services is None:
                return None
            changed |= services
        return changed

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

    def find(self, name: bytes, starts: list[int], qtype: int) -> Answer | None:
        """Return the answer for a name (lower case, wire form, its labels begin at `starts`), None if not ours."""
        answer = self._find(name, starts, qtype, 0)
        if answer is None or answer.rcode == 0:
            return answer
        if not self._synced:
            return not_ready(answer.zone)
        if self._fallthrough and any(_within(name, starts, zone) for zone in self._fallthrough):
            return None
        return answer

    def _changed(self, services: AbstractSet[bytes] | None) -> None:
        self.generation += 1
        self._log.append((self.generation, services))

    def _find(self, name: bytes, starts: list[int], qtype: int, depth: int) -> Answer | None:
        zone = self.authority
        left = len(starts) - zone.labels
        if left < 0 or name[starts[left] :] != zone.name:
            return self._reverse_answer(name, starts, qtype)
        if not left:
            return self._apex(qtype, zone)
        kind = name[starts[left - 1] : starts[left]]
        if kind == _SVC:
            return self._service(name, starts, left, qtype, depth)
        if kind == _POD:
            return self._pod(name, starts, left, qtype)
        return self._other(name[: starts[left]], qtype)

    def _service(self, name: bytes, starts: list[int], left: int, qtype: int, depth: int) -> Answer:
        if left == 1:
            return no_data(self.authority, qtype)
        if left == 2:
            exists = self._holdings.namespace_exists(name[starts[0] : starts[1]])
            return no_data(self.authority, qtype) if exists else no_name(self.authority)
        key = name[starts[left - 3] : starts[left - 1]]
        service = self._holdings.services.get(key)
        if service is None:
            return no_name(self.authority)
        if service.external_name:
            return self._alias(service, qtype, depth) if left == 3 else no_name(self.authority)
        if left == 3:
            return self._answers.of_service(key, service, qtype)
        if left == 4:
            return self._answers.of_endpoint(key, service, name[1 : starts[1]], qtype)
        if left == 5:
            return self._answers.of_port(key, service, name[1 : starts[1]], name[starts[1] + 1 : starts[2]], qtype)
        return no_name(self.authority)

    def _alias(self, service: ServiceRecord, qtype: int, depth: int) -> Answer:
        """Return the CNAME of an ExternalName Service, for every type (RFC 1034), and what its target has."""
        target = service.external_name
        cname = RRset(CNAME, self.config.ttl, (target,))
        if qtype in (CNAME, ANY):
            return Answer(self.authority, answer=(cname,))
        key = target.lower()
        starts = label_starts(key)
        rest = self._find(key, starts, qtype, depth + 1) if depth < MAX_CHAIN else no_data(self.authority)
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

    def _reverse_answer(self, name: bytes, starts: list[int], qtype: int) -> Answer | None:
        if not name.endswith((IN_ADDR, IP6)):
            return None
        zone = next((zone for zone in self._reverse if _within(name, starts, zone.name)), None)
        address = address_of_reverse(name)
        names = self._answers.names_of(address) if address is not None else ()
        if names:
            if qtype == PTR:
                return Answer(zone or _ARPA[len(address or b"")], answer=(RRset(PTR, self.config.ttl, names),))
            return no_data(zone or _ARPA[len(address or b"")], qtype)
        if zone is None:
            if not self._synced and address is not None:
                return not_ready(_ARPA[len(address)])
            return None
        if len(starts) == zone.labels:
            return self._apex(qtype, zone)
        # A name above addresses is there as long as its zone is; who minimises query names (RFC 9156) walks over it.
        return no_data(zone, qtype) if address is None and _above_addresses(name, starts) else no_name(zone)

    def _addresses_answer(self, addresses: tuple[bytes, ...], qtype: int) -> Answer:
        size = {A: 4, AAAA: 16}.get(qtype)
        rdata = tuple(address for address in addresses if len(address) == size)
        if not rdata:
            return no_data(self.authority, qtype)
        return Answer(self.authority, answer=(RRset(qtype, self.config.ttl, rdata),))


def label_starts(name: bytes) -> list[int]:
    """Return where the labels of a sound wire name begin."""
    starts, at = [], 0
    while name[at]:
        starts.append(at)
        at += 1 + name[at]
    return starts


_ARPA = {4: Authority(IN_ADDR, 2), 16: Authority(IP6, 2)}
"""The zones of addresses that are in no configured one, by the addresses' length."""


def _authority(name: bytes) -> Authority:
    return Authority(name.lower(), len(label_starts(name)))


def _within(name: bytes, starts: list[int], zone: bytes) -> bool:
    """Tell whether a name is a zone's or below it."""
    return name.endswith(zone) and len(name) - len(zone) in (*starts, len(name) - 1)


def _above_addresses(name: bytes, starts: list[int]) -> bool:
    size, most = (2, 32) if name.endswith(IP6) else (4, 4)
    labels = [name[start + 1 : start + 1 + name[start]] for start in starts[:-2]]
    return len(labels) < most and all(len(label) < size and label.isalnum() for label in labels)


def _owned(rrset: RRset, owner: bytes) -> RRset:
    """Return records that belong to the name asked as records of another."""
    if rrset.owner:
        return rrset
    return RRset(rrset.type, rrset.ttl, rrset.rdata, owner, relative=rrset.relative)
