"""EndpointSlices of one Service become endpoints by port: reference sections 1.1 to 1.3."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kproxy.kube import wire
from kproxy.state.addresses import FAMILIES
from kproxy.state.endpoints import Endpoint, EndpointsByPort, service_of
from tests.state import objects
from tests.state.objects import HEADLESS, NODE, OTHER_NODE, PROXY_NAME, SERVICE_NAME, endpoint, endpoint_slice

V4, V6 = FAMILIES
WEB = ("", "TCP")


def merged(*slices: wire.EndpointSlice, node: str = NODE) -> tuple[EndpointsByPort, list[str]]:
    by_family, warnings = objects.merged({slice_.metadata.name: slice_ for slice_ in slices}, node)
    return by_family.get(V4, {}), warnings


# Which Service a slice belongs to.


@pytest.mark.parametrize(
    ("labels", "service"),
    [
        ({}, "ns1/svc1"),
        ({SERVICE_NAME: ""}, None),
        ({PROXY_NAME: "other"}, None),
        ({PROXY_NAME: ""}, None),
        ({HEADLESS: ""}, None),
    ],
)
def test_labels_decide(labels: dict[str, str], service: str | None) -> None:
    assert service_of(endpoint_slice("s", labels=labels)) == service


def test_a_slice_without_any_label_belongs_to_nobody() -> None:
    assert service_of(wire.EndpointSlice(wire.ObjectMeta("s", "ns1"))) is None


def test_a_slice_without_a_namespace_is_in_default() -> None:
    assert service_of(endpoint_slice("s", of="/web")) == "default/web"


# Conditions and their defaults (1.3).

CONDITIONS: list[tuple[dict[str, Any], tuple[bool, bool, bool]]] = [
    # (ready, serving, terminating)
    ({}, (True, True, False)),
    ({"ready": True}, (True, True, False)),
    ({"ready": False}, (False, True, False)),
    ({"ready": False, "serving": False}, (False, False, False)),
    ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
    ({"ready": True, "serving": True, "terminating": True}, (True, True, True)),  # publishNotReadyAddresses
]


@pytest.mark.parametrize(("conditions", "expected"), CONDITIONS)
def test_conditions(conditions: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    by_port, _ = merged(endpoint_slice("s", [endpoint("10.0.0.1", **conditions)]))
    (made,) = by_port[WEB]
    assert (made.ready, made.serving, made.terminating) == expected
    assert made.usable_as_last_resort is (expected[1] and expected[2])


def test_everything_that_is_read() -> None:
    by_port, warnings = merged(
        endpoint_slice(
            "s",
            [endpoint("10.0.0.1", "10.0.0.99", node=NODE, zones=["z1", "z2"], nodes=[NODE])],
            ports=[{"name": "web", "port": 8080, "protocol": "UDP", "appProtocol": "h2c"}],
        )
    )
    expected = Endpoint("10.0.0.1:8080", "10.0.0.1", 8080, local=True, zone_hints=("z1", "z2"), node_hints=(NODE,))
    assert by_port == {("web", "UDP"): (expected,)}
    assert warnings == []


@pytest.mark.parametrize(
    ("there", "here", "local"),
    [(NODE, NODE, True), (OTHER_NODE, NODE, False), (None, NODE, False), ("", "", False), (None, "", False)],
)
def test_local_means_on_this_node(there: str | None, here: str, local: bool) -> None:
    by_port, _ = merged(endpoint_slice("s", [endpoint("10.0.0.1", node=there)]), node=here)
    assert by_port[WEB][0].local is local


# What is ignored, and said.


@pytest.mark.parametrize(
    "port",
    [
        {"name": "", "protocol": "TCP"},
        {"name": "", "port": None, "protocol": "TCP"},
        {"name": "", "port": 0},
        {"name": "", "port": 65536},
        {"name": "", "port": -1},
        {"name": "", "port": 80, "protocol": "ICMP"},
    ],
)
def test_a_port_without_a_usable_number_or_protocol(port: dict[str, Any]) -> None:
    by_port, warnings = merged(endpoint_slice("s", [endpoint("10.0.0.1")], ports=[port]))
    assert by_port == {}
    assert warnings == ["EndpointSlice s: ports[0]: no usable port; ignored"]


@pytest.mark.parametrize("addresses", [(), ("",), ("web.example",), ("fd00::1",), ("10.0.0.1/32",), ("10.0.0.1\n",)])
def test_an_endpoint_without_an_address_of_the_family(addresses: tuple[str, ...]) -> None:
    by_port, warnings = merged(endpoint_slice("s", [endpoint(*addresses), endpoint("10.0.0.2")]))
    assert [made.address for made in by_port[WEB]] == ["10.0.0.2:8080"]
    assert warnings == ["EndpointSlice s: endpoints[0].addresses[0]: not an IPv4 address; ignored"]


def test_a_warning_is_one_line_whatever_the_name() -> None:
    _, warnings = merged(endpoint_slice("s\nCOMMIT", [endpoint("nonsense")]))
    assert all(text.isprintable() for text in warnings)


@pytest.mark.parametrize("family", ["FQDN", "", "IPv5"])
def test_other_address_types_are_not_for_a_proxy(family: str) -> None:
    by_family, warnings = objects.merged({"s": endpoint_slice("s", [endpoint("web.example")], family=family)}, NODE)
    assert (by_family, warnings) == ({}, [])


@pytest.mark.parametrize("ports", [None, []])
def test_a_slice_without_ports_has_endpoints_for_none(ports: list[dict[str, Any]] | None) -> None:
    assert merged(endpoint_slice("s", [endpoint("10.0.0.1")], ports=ports)) == ({}, [])


# Merging.


def test_ports_of_one_name_may_have_different_numbers_in_different_slices() -> None:
    """A named targetPort resolves per pod; all of them are merged."""
    by_port, _ = merged(
        endpoint_slice("s1", [endpoint("10.0.0.1")], ports=[{"name": "web", "port": 8080}]),
        endpoint_slice("s2", [endpoint("10.0.0.2")], ports=[{"name": "web", "port": 9090}]),
    )
    assert [made.address for made in by_port["web", "TCP"]] == ["10.0.0.1:8080", "10.0.0.2:9090"]


def test_the_protocol_is_part_of_the_port() -> None:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns", "port": 5353, "protocol": "TCP"}]
    by_port, _ = merged(endpoint_slice("s", [endpoint("10.0.0.1")], ports=ports))
    assert {key: made[0].port for key, made in by_port.items()} == {("dns", "UDP"): 53, ("dns", "TCP"): 5353}


def test_endpoints_are_sorted_by_their_identity_as_a_string() -> None:
    by_port, _ = merged(endpoint_slice("s", [endpoint(f"10.0.0.{n}") for n in (9, 10, 2, 100)]))
    assert [made.ip for made in by_port[WEB]] == ["10.0.0.100", "10.0.0.10", "10.0.0.2", "10.0.0.9"]


def test_families_are_kept_apart() -> None:
    slices = {
        "s4": endpoint_slice("s4", [endpoint("10.0.0.1")]),
        "s6": endpoint_slice("s6", [endpoint("FD00::1")], family="IPv6"),
    }
    by_family, _ = objects.merged(slices, NODE)
    assert {family: made[WEB][0].address for family, made in by_family.items()} == {
        V4: "10.0.0.1:8080",
        V6: "[fd00::1]:8080",
    }


DUPLICATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # (what decides, the one that wins, the other)
    ("local", {"node": NODE, "ready": False}, {"node": OTHER_NODE, "ready": True}),
    ("ready", {"ready": True}, {"ready": False}),
    ("serving", {"ready": False, "serving": True}, {"ready": False, "serving": False}),
]


@pytest.mark.parametrize(("winner", "loser"), [row[1:] for row in DUPLICATES], ids=[row[0] for row in DUPLICATES])
@pytest.mark.parametrize("names", [("s1", "s2"), ("s2", "s1")])
@pytest.mark.parametrize("together", [False, True])
def test_a_duplicate_collapses(
    winner: dict[str, Any], loser: dict[str, Any], names: tuple[str, str], together: bool
) -> None:
    good, bad = endpoint("10.0.0.1", **winner), endpoint("10.0.0.1", **loser)
    alone, _ = merged(endpoint_slice("s", [good]))
    if together:
        both, _ = merged(endpoint_slice("s", [bad, good] if names[0] == "s1" else [good, bad]))
    else:
        both, _ = merged(endpoint_slice(names[0], [good]), endpoint_slice(names[1], [bad]))
    assert both == alone


def test_the_order_of_slices_and_endpoints_does_not_matter() -> None:
    parts = [
        ("s1", [endpoint("10.0.0.1", node=NODE), endpoint("10.0.0.2", ready=False)]),
        ("s2", [endpoint("10.0.0.2", zones=["z1"]), endpoint("10.0.0.3", node=OTHER_NODE)]),
        ("s3", [endpoint("10.0.0.1", node=OTHER_NODE), endpoint("10.0.0.3", ready=False, serving=False)]),
    ]
    results = []
    for order in itertools.permutations(parts):
        for flip in (False, True):
            slices = {name: endpoint_slice(name, made[::-1] if flip else made) for name, made in order}
            results.append(objects.merged(slices, NODE))
    assert all(result == results[0] for result in results)
    assert [(e.address, e.local, e.ready) for e in results[0][0][V4][WEB]] == [
        ("10.0.0.1:8080", True, True),
        ("10.0.0.2:8080", False, True),
        ("10.0.0.3:8080", False, True),
    ]
