"""Everything a source said, held as the planner needs it, and what changed since it last asked.

`apply` takes changes and only marks; `take_dirty` hands out the names of the Services to plan again. A Service is
looked at as a whole (all its slices, all its ports), so an endpoint that moves between slices never disappears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kproxy.errors import ObjectError
from kproxy.kube import wire
from kproxy.state.conflicts import ClaimIndex, describe
from kproxy.state.endpoints import Endpoint, ParsedSlice, merge_slices, parse_slice, service_of
from kproxy.state.mirror import is_mirrored, mirror
from kproxy.state.node import NodeInfo, node_info
from kproxy.state.service_cidrs import ServiceCidrs
from kproxy.state.service_parser import parse_service

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kproxy.sources.changes import Change
    from kproxy.state.addresses import Family
    from kproxy.state.service import ParsedService, ServicePort

V = TypeVar("V")


class ClusterState:
    """The objects of a cluster as one node sees them."""

    def __init__(self, node_name: str, *, bind_address: str = "", external_ips_allowed: bool = True) -> None:
        self._bind_address = bind_address
        self._external_ips_allowed = external_ips_allowed
        self.services: dict[str, ParsedService] = {}
        self.invalid: dict[str, ObjectError] = {}
        self.node: NodeInfo = node_info(node_name, None, bind_address)
        self._service_cidrs = ServiceCidrs()
        self._slices: dict[str, dict[str, ParsedSlice]] = {}
        self._slice_service: dict[str, str] = {}
        self._mirrors: dict[str, dict[str, ParsedSlice]] = {}
        self._claims = ClaimIndex()
        # What there is to say about objects, each by Service; `remarks` counts how often any of it changed.
        self.remarks = 0
        self._warnings: dict[str, tuple[str, ...]] = {}
        self._slice_warnings: dict[str, tuple[str, ...]] = {}
        self._dns: dict[str, str] = {}
        self._dirty: set[str] = set()
        self._node_dirty = True

    @property
    def service_cidrs(self) -> Mapping[Family, tuple[str, ...]]:
        """The ranges of clusterIPs by family (both are there): an address in one that no Service has is nobody's."""
        return self._service_cidrs.by_family

    def apply(self, changes: Iterable[Change]) -> None:
        """Take changes in; nothing is planned yet."""
        for change in changes:
            match change.kind, change.obj:
                case "Service", wire.Service() | None:
                    self._service(change.key, change.obj)
                case "EndpointSlice", wire.EndpointSlice() | None:
                    self._slice(change.key, change.obj)
                case "Endpoints", wire.Endpoints() | None:
                    self._endpoints_object(change.key, change.obj)
                case "Node", wire.Node() | None if change.key == self.node.name:
                    self._node(change.obj)
                case "ServiceCIDR", wire.ServiceCIDR() | None:
                    self._node_dirty |= self._service_cidrs.apply(change.key, change.obj)
                    self.remarks += 1
        standing_changed = self._claims.settle()
        self.remarks += bool(standing_changed)
        self._dirty |= standing_changed

    def take_dirty(self) -> tuple[set[str], bool]:
        """Return the names of Services to plan again, and whether the node or the ServiceCIDRs changed; forget both."""
        dirty, node = self._dirty, self._node_dirty
        self._dirty, self._node_dirty = set(), False
        return dirty, node

    def ports(self, key: str, family: Family) -> tuple[tuple[ServicePort, tuple[Endpoint, ...]], ...]:
        """Return the ports of a Service with their endpoints; empty when it gets no rules."""
        service = self.services.get(key)
        if service is None or self._claims.lost(key) or family not in service.ports:
            return ()
        by_port = merge_slices(self._slices_of(key), family)
        return tuple((port, by_port.get((port.name.port, port.name.protocol), ())) for port in service.ports[family])

    def problems(self) -> list[ObjectError]:
        """Return the objects that are invalid or lost a conflict, each named, in a stable order."""
        found = [self.invalid[key] for key in sorted(self.invalid)]
        for key, (claim, holder) in self._claims.losers().items():
            found.append(ObjectError(f"Service {key}", "", f"{describe(claim)} belongs to Service {holder}; skipped"))
        return found + self._service_cidrs.problems()

    def warnings(self) -> list[str]:
        """Return the fields that were ignored, a line each."""
        lines = [f"Service {key}: {text}" for key in sorted(self._warnings) for text in self._warnings[key]]
        served = [key for key in sorted(self._slice_warnings) if key in self.services]
        return lines + [text for key in served for text in self._slice_warnings[key]]

    def handed_to_dns(self) -> Mapping[str, str]:
        """Return the Services without rules that DNS answers for: name -> headless or ExternalName."""
        return self._dns

    def _service(self, key: str, obj: wire.Service | None) -> None:
        self._dirty.add(key)
        if obj is None:
            self.services.pop(key, None)
        else:
            try:
                self.services[key] = parse_service(obj, external_ips_allowed=self._external_ips_allowed)
            except ObjectError as error:
                # Like a bad document: the last good version goes on serving.
                self._remark(self.invalid, key, error)
                return
        service = self.services.get(key)
        self._remark(self.invalid, key, None)
        self._remark(self._warnings, key, service.warnings if service else None)
        self._remark(self._dns, key, service.handed_to_dns if service else None)
        self.remarks += key in self._slice_warnings  # told only while there is the Service
        self._claims.enter(key, service)

    def _slice(self, key: str, obj: wire.EndpointSlice | None) -> None:
        service = service_of(obj) if obj is not None else None
        before = self._slice_service.pop(key, None)
        if before is not None and before != service:
            self._slices[before].pop(key)
            if not self._slices[before]:
                del self._slices[before]
            self._endpoints_changed(before)
        if obj is not None and service is not None:
            self._slice_service[key] = service
            parsed = parse_slice(obj, self.node.name, mirrored=is_mirrored(obj))
            self._slices.setdefault(service, {})[key] = parsed
            self._endpoints_changed(service)

    def _endpoints_object(self, key: str, obj: wire.Endpoints | None) -> None:
        if obj is None:
            self._mirrors.pop(key, None)
        else:
            slices = mirror(obj)
            self._mirrors[key] = {name: parse_slice(slice_, self.node.name) for name, slice_ in slices.items()}
        self._endpoints_changed(key)

    def _endpoints_changed(self, service: str) -> None:
        slices = self._slices_of(service)
        self._remark(
            self._slice_warnings, service, tuple(line for name in sorted(slices) for line in slices[name].warnings)
        )
        self._dirty.add(service)

    def _node(self, obj: wire.Node | None) -> None:
        info = node_info(self.node.name, obj, self._bind_address)
        if info != self.node:
            self.node = info
            self._node_dirty = True

    def _slices_of(self, service: str) -> Mapping[str, ParsedSlice]:
        slices = self._slices.get(service, {})
        if service in self._mirrors and all(slice_.mirrored for slice_ in slices.values()):
            return self._mirrors[service]
        return slices

    def _remark(self, remarks: dict[str, V], key: str, remark: V | None) -> None:
        """Enter, replace or (None, or empty) remove what there is to say about a Service."""
        if remark:
            self.remarks += remarks.get(key) != remark
            remarks[key] = remark
        elif key in remarks:
            self.remarks += 1
            del remarks[key]
