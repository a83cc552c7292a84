"""What becomes of a manifest before it goes to the API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.manifests import Port, node, service
from tests.oracle.api_objects import admitted

WEB = Port("web", "tcp", 80, 8080, node_port=31230)
BOTH, V4 = ("10.96.0.9", "fd00:10:96::9"), ("10.96.0.9",)


@pytest.mark.parametrize(
    ("made", "changed"),
    [
        (service("s", [WEB], BOTH), {"ipFamilyPolicy": "RequireDualStack"}),
        (service("s", [WEB], V4, kind="NodePort"), {"ipFamilyPolicy": "SingleStack"}),
        (
            service("s", [WEB], V4, kind="LoadBalancer", externalTrafficPolicy="Local"),
            {"ipFamilyPolicy": "SingleStack", "healthCheckNodePort": 21230},
        ),
        (
            service("s", [WEB], V4, kind="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=20001),
            {"ipFamilyPolicy": "SingleStack"},
        ),
        (service("s", [WEB], ("None",)), {"ipFamilies": None}),
        (
            service("s", [WEB], V4, kind="ExternalName", externalName="x"),
            dict.fromkeys(("clusterIP", "clusterIPs", "ipFamilies")),
        ),
    ],
    ids=["dual", "single", "local", "local with port", "headless", "external name"],
)
def test_a_service_is_made_admissible(made: dict[str, Any], changed: dict[str, Any]) -> None:
    """`changed` are the fields of the spec that differ; None is one that is left out."""
    wanted = {key: value for key, value in (made["spec"] | changed).items() if value is not None}
    assert admitted(made)["spec"] == wanted


def test_the_status_of_a_service_is_not_part_of_its_creation() -> None:
    made = service("s", [WEB], V4, kind="LoadBalancer", load_balancer_ips=["10.97.0.1"])
    assert "status" not in admitted(made)
    assert "status" in made


def test_a_deletion_is_not_a_field_that_is_written() -> None:
    made = node("n", {"ipv4": ("172.18.0.1",)})
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert "deletionTimestamp" not in admitted(made)["metadata"]
