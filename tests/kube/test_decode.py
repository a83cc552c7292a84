"""decode.py: documents in, wire structs or named faults out. Field paths are as kubectl's users write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kproxy.kube.decode import (
    MAX_LIST_DEPTH,
    Decoded,
    Refused,
    decode_json,
    decode_plain,
    list_item_kind,
    printable,
)
from kproxy.kube.wire import EndpointSlice, Node, Service, ServicePort, ServiceSpec


def service(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, **fields}


def both(document: Any, item_kind: str = "") -> list[Decoded | Refused]:
    """Decode plain data, and the same as JSON: the answers must not differ."""
    plain = list(decode_plain(document, item_kind=item_kind))
    raw = list(decode_json(json.dumps(document).encode(), item_kind=item_kind))
    assert plain == raw
    return plain


def test_a_service() -> None:
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.7",
        "clusterIPs": ["10.96.0.7"],
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP", "nodePort": 30080}],
        "selector": {"app": "web"},
        "somethingNew": {"unknown": [1, 2]},
    }
    (found,) = both(service(spec=spec))
    assert isinstance(found, Decoded)
    assert (found.kind, found.key, found.at) == ("Service", "shop/web", ())
    assert isinstance(found.obj, Service)
    assert found.obj.spec.cluster_ips == ["10.96.0.7"]
    assert found.obj.spec.ports == [ServicePort(port=80, name="http", protocol="TCP", node_port=30080)]


@pytest.mark.parametrize("namespace", [None, ""])
def test_no_namespace_is_the_default_one(namespace: str | None) -> None:
    (found,) = both(service(metadata={"name": "web", "namespace": namespace}))
    assert isinstance(found, Decoded)
    assert found.key == "default/web"
    assert found.obj.metadata.namespace == "default"


def test_a_node_has_no_namespace() -> None:
    (found,) = both(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.1.0.0/24"}}
    )
    assert isinstance(found, Decoded)
    assert isinstance(found.obj, Node)
    assert found.key == "n1"
    assert found.obj.metadata.namespace == ""


def test_null_is_absent() -> None:
    document = service(spec=None, status=None)
    document["metadata"]["labels"] = {"app": "web", "empty": None}
    (found,) = both(document)
    assert isinstance(found, Decoded)
    assert isinstance(found.obj, Service)
    assert found.obj.spec == ServiceSpec()
    assert found.obj.metadata.labels == {"app": "web"}


PORT = {"port": 80}
WEB = ("Service", "shop/web")
NOBODY = ("", "")

WRONG_TYPES = [
    # (document, field as the user writes it, what is wrong, whose fault it is)
    (service(spec={"ports": [{"port": "80"}]}), "spec.ports[0].port", "expected int, got str", WEB),
    (service(spec={"ports": [PORT, {"port": 80.5}]}), "spec.ports[1].port", "expected int, got float", WEB),
    (service(spec={"ports": [{"port": True}]}), "spec.ports[0].port", "expected int, got bool", WEB),
    (service(spec={"ports": [PORT, {"name": "x"}]}), "spec.ports[1].port", "missing", WEB),
    (service(spec={"ports": [PORT, {"port": None}]}), "spec.ports[1].port", "missing", WEB),
    (service(spec={"ports": [None, PORT]}), "spec.ports[0]", "expected mapping, got null", WEB),
    (service(spec={"ports": PORT}), "spec.ports", "expected list, got mapping", WEB),
    (service(spec={"ports": [80]}), "spec.ports[0]", "expected mapping, got int", WEB),
    (service(spec={"clusterIPs": "10.0.0.1"}), "spec.clusterIPs", "expected list, got str", WEB),
    (service(spec={"clusterIP": 10}), "spec.clusterIP", "expected str, got int", WEB),
    (
        service(spec={"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": "3h"}}}),
        "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        "expected int, got str",
        WEB,
    ),
    (service(spec="none"), "spec", "expected mapping, got str", WEB),
    (
        service(metadata={"name": "web", "namespace": "shop", "labels": {"app": "web", "version": 1.1}}),
        "metadata.labels[version]",
        "expected str, got float",
        WEB,
    ),
    (
        service(metadata={"name": "web", "namespace": "shop", "annotations": {"a.b/c\n": 1}}),
        "metadata.annotations[a.b/c ]",
        "expected str, got int",
        WEB,
    ),
    (service(metadata={"name": 7}), "metadata.name", "expected str, got int", NOBODY),
    (service(metadata={"namespace": "shop"}), "metadata.name", "missing", NOBODY),
    (service(metadata={"name": ""}), "metadata.name", "missing", NOBODY),
    (service(metadata=[]), "metadata", "expected mapping, got list", NOBODY),
    ({"apiVersion": "v1", "kind": "Service"}, "metadata", "missing", NOBODY),
    (
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDRs": [1]}},
        "spec.podCIDRs[0]",
        "expected str, got int",
        ("Node", "n1"),
    ),
    ({"apiVersion": "v1", "metadata": {"name": "web"}}, "kind", "missing", NOBODY),
    ({"apiVersion": "v1", "kind": ["Service"]}, "kind", "expected str, got list", NOBODY),
    ({"kind": "Service", "metadata": {"name": "web"}}, "apiVersion", "missing, v1 is the one of kind Service", NOBODY),
    (
        {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "metadata": {"name": "web"}},
        "apiVersion",
        "EndpointSlice is read in discovery.k8s.io/v1 only, got discovery.k8s.io/v1beta1",
        NOBODY,
    ),
    ([service()], "", "expected mapping, got list", NOBODY),
    ("web", "", "expected mapping, got str", NOBODY),
]


@pytest.mark.parametrize(("document", "field", "what", "whose"), WRONG_TYPES)
def test_a_wrong_type_is_refused_with_its_path(document: Any, field: str, what: str, whose: tuple[str, str]) -> None:
    (found,) = both(document)
    assert isinstance(found, Refused)
    assert (found.field, found.what, (found.kind, found.key)) == (field, what, whose)


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": 5},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": []},
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": {"ports": "none"}},
        {"apiVersion": "example.org/v1", "kind": "List", "items": 5},
        {"apiVersion": "v1", "kind": "ConfigMapList", "items": [service()]},
        {"kind": "Kustomization"},
    ],
)
def test_other_kinds_are_passed_over(document: Any) -> None:
    assert both(document) == []


def test_lists_are_unfolded() -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    pod = {"apiVersion": "v1", "kind": "Job", "metadata": {"name": "p"}}
    inner = {"apiVersion": "v1", "kind": "List", "items": [node]}
    found = both(
        {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [service(), pod, inner, service(spec=1)]}
    )
    good = [(f.at, f.key) for f in found if isinstance(f, Decoded)]
    assert good == [(("items", 0), "shop/web"), (("items", 2, "items", 0), "n1")]
    (bad,) = [f for f in found if isinstance(f, Refused)]
    assert (bad.path, bad.field, bad.key) == (("items", 3, "spec"), "spec", "shop/web")


def test_items_of_a_typed_list_need_not_name_their_kind() -> None:
    items = [{"metadata": {"name": "a"}, "addressType": "IPv4"}]
    found = both({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList", "items": items})
    assert [(f.kind, f.key) for f in found] == [("EndpointSlice", "default/a")]
    assert isinstance(found[0], Decoded)
    assert isinstance(found[0].obj, EndpointSlice)
    assert [f.key for f in both(items[0], item_kind="EndpointSlice")] == ["default/a"]
    # In a plain List they do.
    (refused,) = both({"apiVersion": "v1", "kind": "List", "items": items})
    assert isinstance(refused, Refused)
    assert (refused.path, refused.field, refused.what) == (("items", 0, "kind"), "kind", "missing")


@pytest.mark.parametrize(
    ("items", "field", "what"),
    [({"a": 1}, "items", "expected list, got mapping"), ("x", "items", "expected list, got str")],
)
def test_a_list_with_wrong_items(items: Any, field: str, what: str) -> None:
    (found,) = both({"apiVersion": "v1", "kind": "List", "items": items})
    assert isinstance(found, Refused)
    assert (found.field, found.what, found.key) == (field, what, "")


@pytest.mark.parametrize("document", [{"items": None}, {}])
def test_an_empty_list(document: dict[str, Any]) -> None:
    assert both({"apiVersion": "v1", "kind": "List", **document}) == []


def test_lists_in_lists_without_end() -> None:
    document = service()
    for _ in range(MAX_LIST_DEPTH + 1):
        document = {"apiVersion": "v1", "kind": "List", "items": [document]}
    (found,) = both(document)
    assert isinstance(found, Refused)
    assert found.what == "a List inside too many Lists"


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "not JSON: "),
        (b"{", "not JSON: "),
        (b'{"kind": "Service"} x', "not JSON: "),
        (b'{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "\xff"}}', "not UTF-8"),
        (b'{"apiVersion": "v1", "kind": "Service", "x": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json(raw: bytes, what: str) -> None:
    (found,) = decode_json(raw)
    assert isinstance(found, Refused)
    assert found.what.startswith(what)


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("v1", "List", ""),
        ("v1", "ServiceList", "Service"),
        ("discovery.k8s.io/v1", "EndpointSliceList", "EndpointSlice"),
        ("v1", "EndpointSliceList", None),
        ("v1", "JobList", None),
        ("v1", "Service", None),
        (None, None, None),
    ],
)
def test_which_lists_are_unfolded(version: str | None, kind: str | None, expected: str | None) -> None:
    assert list_item_kind(version, kind) == expected


def test_text_of_a_manifest_can_not_break_a_line() -> None:
    assert printable("a\nb\x1b[2J\u2028é") == "a b\\x1b[2J\\u2028é"
    assert printable("x" * 100) == "x" * 80 + "..."
