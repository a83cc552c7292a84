from __future__ import annotations

import pytest

from kproxy.kube.remedies import Meaning, meaning, told
from kproxy.kube.requests import Phase, Purpose
from kproxy.kube.resources import ENDPOINT_SLICES, SERVICE_CIDRS, SERVICES, Resource
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


STREAMED, LIST, WATCH = Purpose.STREAMED_LIST, Purpose.LIST, Purpose.WATCH


@pytest.mark.parametrize(
    ("failure", "resource", "purpose", "phase", "expected"),
    [
        (Failure(404), SERVICE_CIDRS, STREAMED, Phase.REFUSED, Meaning.NOT_SERVED),
        (Failure(404), SERVICES, WATCH, Phase.REFUSED, Meaning.FAILURE),
        (Failure(410), SERVICES, WATCH, Phase.REFUSED, Meaning.EXPIRED),
        (Failure(500, "Expired"), SERVICES, WATCH, Phase.WATCHING, Meaning.EXPIRED),
        (Failure(400), SERVICES, STREAMED, Phase.REFUSED, Meaning.NO_STREAMED_LISTS),
        (Failure(422), SERVICES, STREAMED, Phase.REFUSED, Meaning.NO_STREAMED_LISTS),
        (Failure(500), SERVICES, STREAMED, Phase.INITIAL, Meaning.NO_STREAMED_LISTS),
        (Failure(500), SERVICES, STREAMED, Phase.REFUSED, Meaning.FAILURE),
        (Failure(503), SERVICES, STREAMED, Phase.INITIAL, Meaning.FAILURE),
        (Failure(403), SERVICES, STREAMED, Phase.REFUSED, Meaning.FAILURE),
        (Failure(400), SERVICES, WATCH, Phase.REFUSED, Meaning.BAD_VERSION),
        (Failure(422), SERVICES, LIST, Phase.REFUSED, Meaning.BAD_VERSION),
        (Failure(504, "Timeout", "Too large resource version: 9"), SERVICES, WATCH, Phase.REFUSED, Meaning.BAD_VERSION),
        (Failure(429), SERVICES, LIST, Phase.REFUSED, Meaning.FAILURE),
    ],
)
def test_what_an_error_means(
    failure: Failure, resource: Resource, purpose: Purpose, phase: Phase, expected: Meaning
) -> None:
    assert meaning(failure, resource, purpose, phase) is expected
