"""Which Services claim what another already has: the same IP, protocol and port, or the same node port.

The oldest Service keeps its claim (creationTimestamp, then name, so that every node and every order of events comes
to the same answer); the other is named and gets no rules until the conflict is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kproxy.state.service import ParsedService

Claim = tuple[str, str, int]
"""(IP or "node port", protocol, port)"""


def claims_of(service: ParsedService) -> Iterator[Claim]:
    """Yield everything a Service lays claim to, over both families."""
    for ports in service.ports.values():
        for port in ports:
            yield (port.cluster_ip, port.protocol, port.port)
            for ip in (*port.external_ips, *port.load_balancer_vips):
                yield (ip, port.protocol, port.port)
            if port.node_port:
                yield ("node port", port.protocol, port.node_port)
    if service.health_check_node_port:
        yield ("node port", "TCP", service.health_check_node_port)


def describe(claim: Claim) -> str:
    """Return the claim as a user would say it."""
    where, protocol, port = claim
    return f"{where} {port}/{protocol}"


class ClaimIndex:
    """Services by what they claim.

    Changes are entered, then settled together: that costs as much as the Services concerned and their rivals have
    claims, however many changes there were.
    """

    def __init__(self) -> None:
        # Nearly every claim has one claimant, so these are tuples, which are small.
        self._claimants: dict[Claim, tuple[str, ...]] = {}
        self._services: dict[str, ParsedService] = {}
        self._lost: dict[str, tuple[Claim, str]] = {}
        self._touched: set[str] = set()
        self._touched_claims: set[Claim] = set()

    def lost(self, key: str) -> tuple[Claim, str] | None:
        """Return (contested claim, name of the Service that has it) if `key` lost a conflict."""
        return self._lost.get(key)

    def losers(self) -> dict[str, tuple[Claim, str]]:
        """Return all that lost, each with what `lost` says of it, in the order of their names."""
        return dict(sorted(self._lost.items()))

    def enter(self, key: str, service: ParsedService | None) -> None:
        """Enter, replace or (None) remove a Service; who keeps what is decided by `settle`."""
        self._remove(key)
        self._touched.add(key)
        if service is not None and service.ports:
            self._services[key] = service
            for claim in claims_of(service):
                claimants = self._claimants.get(claim, ())
                if key not in claimants:
                    self._claimants[claim] = (*claimants, key)
                self._touched_claims.add(claim)

    def settle(self) -> set[str]:
        """Decide anew what the changes since the last call touch; return the Services whose standing changed."""
        names = self._touched | self._rivals(self._touched_claims)
        self._touched, self._touched_claims = set(), set()
        return self._settle(names)

    def _remove(self, key: str) -> None:
        service = self._services.pop(key, None)
        for claim in set(claims_of(service)) if service is not None else ():
            left = tuple(name for name in self._claimants[claim] if name != key)
            if left:
                self._claimants[claim] = left
            else:
                del self._claimants[claim]
            self._touched_claims.add(claim)

    def _rivals(self, claims: Iterable[Claim]) -> set[str]:
        """Return all Services linked by contested claims with somebody who has one of these."""
        seen: set[str] = set()
        known = set(claims)
        todo = list(known)
        while todo:
            for name in self._claimants.get(todo.pop(), ()):
                if name in seen:
                    continue
                seen.add(name)
                for claim in claims_of(self._services[name]):
                    if claim not in known and len(self._claimants[claim]) > 1:
                        known.add(claim)
                        todo.append(claim)
        return seen

    def _settle(self, names: set[str]) -> set[str]:
        """Hand out the claims of these Services again, the oldest first; return whose standing changed."""
        changed: set[str] = set()
        taken: dict[Claim, str] = {}
        entered = sorted((self._services[name].created, name) for name in names if name in self._services)
        before = {name: self._lost.pop(name, None) for name in names}
        for _, name in entered:
            claims = set(claims_of(self._services[name]))
            contested = min((claim for claim in claims if claim in taken), default=None)
            if contested is not None:
                self._lost[name] = (contested, taken[contested])
            else:
                taken.update(dict.fromkeys(claims, name))
        for name in names:
            if before[name] != self._lost.get(name):
                changed.add(name)
        return changed
