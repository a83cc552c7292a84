"""Every UDP frontend of one family with the endpoints that serve it, and which of them changed since a clean-up.

What it costs to ask is what changed, not what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.delta import DeltaTracker

if TYPE_CHECKING:
    from kproxy.plan.stale_flows import ServingEndpoints, UdpFrontend

_NONE: frozenset[str] = frozenset()


class UdpFrontends:
    """Frontends by Service. At first all of them count as changed."""

    def __init__(self) -> None:
        self._of: dict[str, ServingEndpoints] = {}
        # A frontend that moves from one Service to another in one go may be taken before it is given up.
        self._owner: dict[UdpFrontend, str] = {}
        self._by_port: dict[int, set[UdpFrontend]] = {}
        self._tracker: DeltaTracker[UdpFrontend, frozenset[str]] = DeltaTracker()

    @property
    def serving(self) -> ServingEndpoints:
        """All frontends with their serving endpoints."""
        return self._tracker.desired

    def set_service(self, key: str, frontends: ServingEndpoints) -> None:
        """Enter, replace or (without frontends) remove those of a Service."""
        for gone in self._of.pop(key, {}).keys() - frontends.keys():
            if self._owner[gone] == key:
                self._remove(gone)
        if frontends:
            self._of[key] = frontends
        for frontend, serving in frontends.items():
            self._owner[frontend] = key
            self._by_port.setdefault(frontend.port, set()).add(frontend)
            self._tracker.want(frontend, serving)

    def changed(self) -> dict[UdpFrontend, frozenset[str]]:
        """Return the frontends to clean up, with the endpoints their flows may keep.

        These are the new ones, those whose endpoints are not the same as at the last clean-up, and those which are
        gone (with no endpoint allowed). Report a clean-up that succeeded by `cleaned`; after one that failed, the next
        makes up for it.

        A frontend at the same port as a changed node port is listed as well: on an address of the node it goes first,
        as in the rules, so that its flows are not taken for the node port's.
        """
        found = self._tracker.updates() | dict.fromkeys(self._tracker.deletions(), _NONE)
        for port in {frontend.port for frontend in found if frontend.address is None}:
            for frontend in self._by_port.get(port, ()):
                found.setdefault(frontend, self.serving[frontend])
        return found

    def cleaned(self) -> None:
        """Note that all that `changed` returned was cleaned up; nothing was entered in between."""
        self._tracker.applied(self._tracker.updates(), self._tracker.deletions())

    def _remove(self, frontend: UdpFrontend) -> None:
        del self._owner[frontend]
        self._tracker.unwant(frontend)
        at_port = self._by_port[frontend.port]
        at_port.discard(frontend)
        if not at_port:
            del self._by_port[frontend.port]
