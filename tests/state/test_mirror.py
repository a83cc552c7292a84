"""Endpoints become EndpointSlices, the way the control plane's mirroring controller makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kproxy.state.addresses import FAMILIES
from kproxy.state.endpoints import Endpoint, EndpointsByPort, service_of
from kproxy.state.mirror import LABEL_MANAGED_BY, MAX_PER_SUBSET, MIRRORING, is_mirrored, mirror
from tests.state import objects
from tests.state.objects import NODE, PROXY_NAME, endpoint_slice, endpoints_object

if TYPE_CHECKING:
    from kproxy.kube import wire

V4, V6 = FAMILIES


def served(endpoints: wire.Endpoints) -> EndpointsByPort:
    by_family, warnings = objects.merged(mirror(endpoints), NODE)
    assert warnings == []
    return by_family.get(V4, {})


def test_a_server_outside_the_cluster() -> None:
    made = served(endpoints_object([{"addresses": [{"ip": "198.51.100.7"}], "ports": [{"port": 5432}]}]))
    assert made == {("", "TCP"): (Endpoint("198.51.100.7:5432", "198.51.100.7", 5432),)}


def test_subsets_nodes_and_readiness() -> None:
    made = served(
        endpoints_object(
            [
                {
                    "addresses": [{"ip": "10.0.0.1", "nodeName": NODE, "hostname": "web-0"}],
                    "notReadyAddresses": [{"ip": "10.0.0.2"}],
                    "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81, "protocol": "UDP"}],
                },
                {"addresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 8080}]},
            ]
        )
    )
    assert {key: [(e.address, e.ready, e.local) for e in endpoints] for key, endpoints in made.items()} == {
        ("a", "TCP"): [
            ("10.0.0.1:80", True, True),
            ("10.0.0.2:80", False, False),
            ("10.0.0.2:8080", True, False),
        ],
        ("b", "UDP"): [("10.0.0.1:81", True, True), ("10.0.0.2:81", False, False)],
    }


def test_an_address_that_is_ready_in_one_place_is_ready() -> None:
    both = {"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    (only,) = served(endpoints_object([both]))["", "TCP"]
    assert only.ready


def test_a_subset_of_both_families_makes_a_slice_for_each() -> None:
    subset = {"addresses": [{"ip": "10.0.0.1"}, {"ip": "FD00::1"}], "ports": [{"port": 80}]}
    slices = mirror(endpoints_object([subset]))
    assert sorted(slice_.address_type for slice_ in slices.values()) == ["IPv4", "IPv6"]
    by_family, _ = objects.merged(slices, NODE)
    assert by_family[V6]["", "TCP"][0].address == "[fd00::1]:80"


def test_the_slices_say_whose_they_are_and_who_made_them() -> None:
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    slices = mirror(endpoints_object([subset], labels={"app": "db"}))
    (slice_,) = slices.values()
    assert service_of(slice_) == "ns1/svc1"
    assert is_mirrored(slice_)
    assert (slice_.metadata.labels or {})["app"] == "db"
    assert not is_mirrored(endpoint_slice("s"))
    assert is_mirrored(endpoint_slice("s", labels={LABEL_MANAGED_BY: MIRRORING}))


def test_the_same_name_for_two_subsets_never_happens() -> None:
    subsets = [{"addresses": [{"ip": f"10.0.0.{n}"}], "ports": [{"port": 80 + n}]} for n in range(12)]
    assert len(mirror(endpoints_object(subsets))) == 12


LEFT_ALONE: list[tuple[str, dict[str, Any]]] = [
    ("label", {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}),
    ("leader election", {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}),
]


@pytest.mark.parametrize("meta", [row[1] for row in LEFT_ALONE], ids=[row[0] for row in LEFT_ALONE])
def test_some_are_not_mirrored(meta: dict[str, Any]) -> None:
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    assert mirror(endpoints_object([subset], **meta)) == {}


def test_skip_mirror_false_is_mirrored() -> None:
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    labels = {"endpointslice.kubernetes.io/skip-mirror": "false"}
    assert mirror(endpoints_object([subset], labels=labels))


def test_labels_are_copied_so_another_proxy_s_endpoints_stay_its_own() -> None:
    """The mirroring controller copies the label, and the watch for slices then leaves them out."""
    subset = {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}
    assert served(endpoints_object([subset], labels={PROXY_NAME: "other"})) == {}


@pytest.mark.parametrize("subsets", [[], [{}], [{"addresses": []}], [{"addresses": [{"ip": "web.example"}]}]])
def test_nothing_to_mirror(subsets: list[dict[str, Any]]) -> None:
    assert served(endpoints_object(subsets)) == {}


def test_a_subset_has_a_limit() -> None:
    addresses = [{"ip": f"10.0.{n // 250}.{n % 250 + 1}"} for n in range(MAX_PER_SUBSET + 5)]
    subset = {"addresses": addresses, "ports": [{"port": 80}]}
    assert MAX_PER_SUBSET == 1000  # the controller's --mirroring-max-endpoints-per-subset
    assert (
        len(served(endpoints_object([subset, {"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 80}]}]))["", "TCP"])
        == 1001
    )
