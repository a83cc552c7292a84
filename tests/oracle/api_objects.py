"""The lab's manifests, written to an API server instead of a directory: what a test wrote as a file becomes objects."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

from tests.lab.manifests import ManifestDirectory, Object

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.controlplane import ControlPlane

Key = tuple[str, str]
NAMESPACE = "lab"
COLLECTIONS = {
    "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
    "EndpointSlice": f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
    "Node": "/api/v1/nodes",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
}
#: Keeps an object that is being deleted.
FINALIZER = "example.com/held-by-the-test"
#: What a Service that is only a name must not have.
NOT_FOR_EXTERNAL_NAME = ("clusterIP", "clusterIPs", "ipFamilies", "externalTrafficPolicy")
#: From a node port of the table to the health-check node port of the same Service.
TO_HEALTH_PORT = -10000


class ApiObjects(ManifestDirectory):
    """Takes the place of ManifestDirectory. May be used from several threads."""

    def __init__(self, path: Path, control: ControlPlane) -> None:
        super().__init__(path)
        self._api = control.api()
        self._lock = threading.Lock()
        self._written: dict[str, dict[Key, Object]] = {}
        self._api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}).checked()

    def write(self, name: str, objects: Sequence[Object]) -> None:
        """Make `objects` what the set NAME consists of: creates, updates and deletes."""
        wanted = {(one["kind"], one["metadata"]["name"]): one for one in objects}
        with self._lock:
            before = self._written.get(name, {})
            for key in before.keys() - wanted.keys():
                self._delete(*key)
            for key, one in wanted.items():
                if key not in before:
                    self._create(one)
                elif one != before[key]:
                    self._replace(one)
            self._written[name] = copy.deepcopy(wanted)

    def remove(self, name: str) -> None:
        self.write(name, [])

    def clear(self) -> None:
        for name in list(self._written):
            self.remove(name)

    def close(self) -> None:
        self._api.close()

    def _create(self, one: Object) -> None:
        made = admitted(one)
        self._api.post(COLLECTIONS[one["kind"]], made).checked()
        if one["kind"] == "Service" and "status" in one:
            # The status of a Service is not taken over when it is created.
            self._api.request("PATCH", _path(one) + "/status", {"status": one["status"]}).checked()

    def _replace(self, one: Object) -> None:
        """An object that is being deleted goes for good, and is made anew."""
        current = self._api.get(_path(one)).checked()
        if "deletionTimestamp" in current["metadata"]:
            self._api.request("PATCH", _path(one), {"metadata": {"finalizers": None}}).checked()
            self._create(one)
            return
        made = admitted(one)
        made["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
        if one["metadata"].get("deletionTimestamp"):
            made["metadata"]["finalizers"] = [FINALIZER]
        self._api.request("PUT", _path(one), made).checked()
        if one["metadata"].get("deletionTimestamp"):
            self._api.request("DELETE", _path(one)).checked()

    def _delete(self, kind: str, name: str) -> None:
        self._api.request("DELETE", f"{COLLECTIONS[kind]}/{name}").checked()


def admitted(one: Object) -> Object:
    """The object as the API server admits it. Manifests may hold more than that."""
    made = copy.deepcopy(one)
    made["metadata"].pop("deletionTimestamp", None)
    if one["kind"] == "Service":
        made.pop("status", None)
        made["spec"] = _service_spec(made["spec"])
    return made


def _service_spec(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["type"] == "ExternalName":
        return {key: value for key, value in spec.items() if key not in NOT_FOR_EXTERNAL_NAME}
    if not spec["ipFamilies"]:
        return {key: value for key, value in spec.items() if key != "ipFamilies"}
    spec["ipFamilyPolicy"] = "RequireDualStack" if len(spec["ipFamilies"]) > 1 else "SingleStack"
    if spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local":
        # One that the server chose might be another Service's.
        spec.setdefault("healthCheckNodePort", spec["ports"][0]["nodePort"] + TO_HEALTH_PORT)
    return spec


def _path(one: Object) -> str:
    return f"{COLLECTIONS[one['kind']]}/{one['metadata']['name']}"
