"""What the zone holds of the cluster's objects: Services, slices and namespaces, and who has which address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.names import relative
from kproxy.dns.services import ServiceRecord, read_service, service_key
from kproxy.dns.slices import SliceRecord, read_slice
from kproxy.errors import ObjectError, one_line
from kproxy.kube import wire
from kproxy.state.endpoints import LABEL_SERVICE_NAME
from kproxy.state.labels import is_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.sources.changes import Change


class Holdings:
    """The objects, by the names that DNS has for them.

    `services` is by `service_key`. `touched` are the keys of Services of which something changed since the owner of
    the set emptied it.
    """

    def __init__(self, exposed: frozenset[bytes] = frozenset()) -> None:
        self._exposed = exposed
        self.services: dict[bytes, ServiceRecord] = {}
        self.touched: set[bytes] = set()
        self._namespaces: set[bytes] = set()
        self._services_in: dict[bytes, int] = {}
        self._slices: dict[bytes, dict[str, SliceRecord]] = {}
        self._slice_service: dict[str, bytes] = {}
        self._own: dict[str, SliceRecord] = {}
        self._cluster_ips: dict[bytes, tuple[bytes, ...]] = {}
        self._endpoint_ips: dict[bytes, tuple[SliceRecord, ...]] = {}
        self._problems: dict[tuple[str, str], tuple[ObjectError, ...]] = {}

    # What is asked

    def namespace_exists(self, label: bytes) -> bool:
        """Tell whether there is a namespace, or a Service that says so."""
        return label in self._namespaces or label in self._services_in

    def slices_of(self, key: bytes) -> Iterable[SliceRecord]:
        """Return the slices of a Service."""
        return self._slices.get(key, {}).values()

    def services_at(self, address: bytes) -> tuple[bytes, ...]:
        """Return the keys of the Services that have a cluster IP."""
        return self._cluster_ips.get(address, ())

    def endpoints_at(self, address: bytes) -> tuple[SliceRecord, ...]:
        """Return the slices with an endpoint of that address."""
        return self._endpoint_ips.get(address, ())

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
            case "Namespace", wire.Namespace() | None:
                return self._namespace(change.key, change.obj)
        return False

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
                _drop(self._cluster_ips, address, key)
        if record is not None:
            self.services[key] = record
            self._count(key, 1)
            for address in record.addresses:
                self._cluster_ips[address] = (*self._cluster_ips.get(address, ()), key)
        self.touched.add(key)
        return True

    def _slice(self, name: str, obj: wire.EndpointSlice | None) -> bool:
        self._problems.pop(("EndpointSlice", name), None)
        record = self._read(name, obj) if obj is not None else None
        service = self._slice_service.get(name)
        before = self._slices[service][name] if service is not None else None
        if record == before:
            return False
        if before is not None and service is not None:
            self._remove(service, name, before)
        if record is not None:
            self._add(name, record)
        return True

    def _read(self, name: str, obj: wire.EndpointSlice) -> SliceRecord | None:
        namespace = obj.metadata.namespace or "default"
        service = (obj.metadata.labels or {}).get(LABEL_SERVICE_NAME)
        if not service or not self._is_exposed(name):
            return None
        where = f"EndpointSlice {one_line(name)}"
        try:
            key = service_key(namespace, service)
        except ValueError as error:
            problem = ObjectError(where, f"metadata.labels[{LABEL_SERVICE_NAME}]", str(error))
            self._problems["EndpointSlice", name] = (problem,)
            return None
        record, problems = read_slice(obj, key)
        if problems:
            found = tuple(ObjectError(where, field, what) for field, what in problems)
            self._problems["EndpointSlice", name] = found
        return record

    def _add(self, name: str, record: SliceRecord) -> None:
        key = record.service
        self._slice_service[name] = key
        self._slices.setdefault(key, {})[name] = record
        self.touched.add(key)
        for address in dict.fromkeys(record.addresses):
            self._endpoint_ips[address] = (*self._endpoint_ips.get(address, ()), record)

    def _remove(self, key: bytes, name: str, record: SliceRecord) -> None:
        del self._slice_service[name]
        del self._slices[key][name]
        if not self._slices[key]:
            del self._slices[key]
        self.touched.add(key)
        for address in dict.fromkeys(record.addresses):
            _drop(self._endpoint_ips, address, record)

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

    def _is_exposed(self, name: str) -> bool:
        return not self._exposed or name.split("/", 1)[0].encode() in self._exposed

    def _count(self, key: bytes, step: int) -> None:
        namespace = key[1 + key[0] :]
        count = self._services_in.get(namespace, 0) + step
        if count:
            self._services_in[namespace] = count
        else:
            del self._services_in[namespace]


def _drop(index: dict, address: bytes, gone: object) -> None:  # type: ignore[type-arg]
    left = tuple(one for one in index[address] if one is not gone and one != gone)
    if left:
        index[address] = left
    else:
        del index[address]
