from __future__ import annotations

import pytest

from kproxy.kube.remedies import told
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from kproxy.kube.stream import Failure


@pytest.mark.parametrize(
    ("failure", "resource", "expected"),
    [
        (Failure(503, "ServiceUnavailable", "not yet"), SERVICES, "503 ServiceUnavailable not yet"),
        (Failure(500), SERVICES, "500"),
        (
            Failure(401, "Unauthorized", "Unauthorized"),
            SERVICES,
            "401 Unauthorized - the token or certificate has expired or is another cluster's; it is read again at each"
            " attempt",
        ),
        (
            Failure(403, "Forbidden", "services is forbidden"),
            SERVICES,
            "403 Forbidden services is forbidden - grant what deploy/rbac.yaml holds",
        ),
        (
            Failure(404, "", "404 page not found"),
            ENDPOINT_SLICES,
            "404 404 page not found - this is no API server, or one before Kubernetes 1.21, which is too old",
        ),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do(failure: Failure, resource: Resource, expected: str) -> None:
    assert told(failure, resource) == expected
