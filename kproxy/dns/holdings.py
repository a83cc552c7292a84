"""What the zone holds of the cluster's objects: Services, slices and namespaces, and who has which address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from kproxy.dns.address_index import AddressIndex
from kproxy.dns.names import relative
from kproxy.dns.pods import PodAddresses
from kproxy.dns.services import ServiceRecord, read_service, service_key
from kproxy.dns.slices import SliceRecord, read_slice
from kproxy.errors import ObjectError, one_line
from kproxy.kube import wire
from kproxy.state.endpoints import LABEL_SERVICE_NAME
from kproxy.state.labels import is_label
from kproxy.state.mirror import mirror

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.services import Port
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.sources.changes import Change

MOST_SHARED: Final = 1000
"""Different lists of ports that are shared at a time."""


class Holdings:
    """The objects, by the names that DNS has for them; `services` is by `service_key`."""

    def __init__(self, config: ZoneConfig) -> None:
        self._config = config
        self._exposed = frozenset(config.namespaces)
        self.services: dict[bytes, ServiceRecord] = {}
        self._touched: set[bytes] = set()
        self.pods = PodAddresses()
        self._namespaces: set[bytes] = set()
        self._services_in: dict[bytes, int] = {}
        self._slices: dict[bytes, dict[str, SliceRecord]] = {}
        self._mirrors: dict[bytes, dict[str, SliceRecord]] = {}
        self._slice_service: dict[str, bytes] = {}
        self._cluster_ips: AddressIndex[bytes] = AddressIndex()
        self._endpoint_ips: AddressIndex[SliceRecord] = AddressIndex()
        self._shared: dict[tuple[Port, ...], tuple[Port, ...]] = {}
        self._problems: dict[tuple[str, str], tuple[ObjectError, ...]] = {}

    # What is asked

    def namespace_exists(self, label: bytes) -> bool:
        """Tell whether there is a namespace, or a Service that says so."""
        return label in self._namespaces or label in self._services_in

    def slices_of(self, key: bytes) -> Iterable[SliceRecord]:
        """Return the slices of a Service: its own, or else those made here of its Endpoints object."""
        own = self._slices.get(key, _NO_SLICES)
        mirrors = self._mirrors.get(key)
        if mirrors is None or not all(slice_.mirrored for slice_ in own.values()):
            return own.values()
        return mirrors.values()

    def services_at(self, address: bytes) -> tuple[bytes, ...]:
        """Return the keys of the Services that have a cluster IP."""
        return self._cluster_ips.owners(address)

    def endpoints_at(self, address: bytes) -> tuple[SliceRecord, ...]:
        """Return the slices with an endpoint of that address."""
        found = self._endpoint_ips.owners(address)
        if self._mirrors:
            return tuple(slice_ for slice_ in found if any(slice_ is one for one in self.slices_of(slice_.service)))
        return found

    def problems(self) -> list[ObjectError]:
        """Return what can't be used, in a stable order."""
        return [problem for _, found in sorted(self._problems.items()) for problem in found]

    # What changes

    def apply(self, change: Change) -> bool:
        """Take one change in; tell whether it may change an answer."""
        match change.kind, change.obj:
            case "Service", wire.Service() | None:
                return self._service(change.key, change.obj)
            case "EndpointSlice", wire.EndpointSlice() | None:
                return self._slice(change.key, change.obj)
            case "Endpoints", wire.Endpoints() | None:
                return self._endpoints(change.key, change.obj)
            case "Pod", wire.Pod() | None:
                return self.pods.change(change.key, change.obj if self._is_exposed(change.key) else None)
            case "Namespace", wire.Namespace() | None:
                return self._namespace(change.key, change.obj)
        return False

    def take_touched(self) -> set[bytes]:
        """Return the keys of the Services of which something changed since the last call."""
        touched, self._touched = self._touched, set()
        return touched

    def _service(self, name: str, obj: wire.Service | None) -> bool:
        self._problems.pop(("Service", name), None)
        try:
            key = service_key(*name.split("/", 1))
            record = read_service(obj) if obj is not None and self._is_exposed(name) else None
        except ObjectError as error:
            # Like a bad document: the last good version goes on answering.
            self._problems["Service", name] = (error,)
            return False
        except ValueError as error:
            if obj is not None:
                self._problems["Service", name] = (ObjectError(f"Service {name}", "metadata.name", str(error)),)
            return False
        before = self.services.get(key)
        if record == before:
            return False
        if before is not None:
            del self.services[key]
            self._count(key, -1)
            for address in before.addresses:
                self._cluster_ips.remove(address, key)
        if record is not None:
            self.services[key] = msgspec.structs.replace(record, ports=self._one_for_all(record.ports))
            self._count(key, 1)
            for address in record.addresses:
                self._cluster_ips.add(address, key)
        self._touched.add(key)
        return True

    def _slice(self, name: str, obj: wire.EndpointSlice | None) -> bool:
        self._problems.pop(("EndpointSlice", name), None)
        record = self._read(name, obj) if obj is not None else None
        service = self._slice_service.get(name)
        before = self._slices[service][name] if service is not None else None
        if record == before:
            return False
        if service is not None:
            del self._slice_service[name]
            self._remove(self._slices, service, name)
        if record is not None:
            self._slice_service[name] = record.service
            self._add(self._slices, name, record)
        return True

    def _read(self, name: str, obj: wire.EndpointSlice) -> SliceRecord | None:
        namespace = obj.metadata.namespace or "default"
        service = (obj.metadata.labels or {}).get(LABEL_SERVICE_NAME)
        if not service or self._config.no_endpoints or not self._is_exposed(name):
            return None
        where = f"EndpointSlice {one_line(name)}"
        try:
            key = service_key(namespace, service)
        except ValueError as error:
            problem = ObjectError(where, f"metadata.labels[{LABEL_SERVICE_NAME}]", str(error))
            self._problems["EndpointSlice", name] = (problem,)
            return None
        record, problems = read_slice(obj, key, self._config)
        if problems:
            found = tuple(ObjectError(where, field, what) for field, what in problems)
            self._problems["EndpointSlice", name] = found
        return msgspec.structs.replace(record, ports=self._one_for_all(record.ports)) if record is not None else None

    def _endpoints(self, name: str, obj: wire.Endpoints | None) -> bool:
        """Make slices of an Endpoints object; a directory of manifests has no controller that would."""
        try:
            key = service_key(*name.split("/", 1))
        except ValueError:
            return False
        wanted = obj is not None and self._is_exposed(name) and not self._config.no_endpoints
        made = mirror(obj, delegated=True) if wanted and obj is not None else {}
        records = {slice_name: read_slice(slice_, key, self._config)[0] for slice_name, slice_ in made.items()}
        before = self._mirrors.get(key)
        if before == (records if obj is not None else None):
            return False
        for slice_name in list(before or ()):
            self._remove(self._mirrors, key, slice_name)
        self._mirrors.pop(key, None)
        if obj is not None:
            self._mirrors[key] = {}
            for slice_name, record in records.items():
                if record is not None:
                    self._add(self._mirrors, slice_name, record)
        self._touched.add(key)
        return True

    def _add(self, slices: dict[bytes, dict[str, SliceRecord]], name: str, record: SliceRecord) -> None:
        key = record.service
        slices.setdefault(key, {})[name] = record
        self._touched.add(key)
        for address in dict.fromkeys(record.addresses):
            self._endpoint_ips.add(address, record)

    def _remove(self, slices: dict[bytes, dict[str, SliceRecord]], key: bytes, name: str) -> None:
        record = slices[key].pop(name)
        if not slices[key]:
            del slices[key]
        self._touched.add(key)
        for address in dict.fromkeys(record.addresses):
            self._endpoint_ips.remove(address, record)

    def _namespace(self, name: str, obj: wire.Namespace | None) -> bool:
        if not is_label(name) or not self._is_exposed(name):
            return False
        label = relative(name.encode())
        if (label in self._namespaces) is (obj is not None):
            return False
        if obj is None:
            self._namespaces.remove(label)
        else:
            self._namespaces.add(label)
        return True

    def _one_for_all(self, ports: tuple[Port, ...]) -> tuple[Port, ...]:
        """Return the same object for equal ports: most Services have the same few."""
        if len(self._shared) > MOST_SHARED:
            self._shared = {}
        return self._shared.setdefault(ports, ports)

    def _is_exposed(self, name: str) -> bool:
        return not self._exposed or name.split("/", 1)[0] in self._exposed

    def _count(self, key: bytes, step: int) -> None:
        namespace = key[1 + key[0] :]
        count = self._services_in.get(namespace, 0) + step
        if count:
            self._services_in[namespace] = count
        else:
            del self._services_in[namespace]


_NO_SLICES: dict[str, SliceRecord] = {}
