"""What the API server refuses, in one line that also says what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kproxy.kube.resources import Resource
    from kproxy.kube.stream import Failure

SERVER_WIDE = frozenset({0, 401, 429, 502, 503, 504})
"""HTTP statuses that concern the server and not the resource that was asked for; 0: there was no answer."""

_BY_STATUS = {
    401: "the token or certificate has expired or is another cluster's; it is read again at each attempt",
    403: "grant what deploy/rbac.yaml holds",
}


def told(failure: Failure, resource: Resource) -> str:
    """Return a refusal as "code reason message - remedy", each part only if there is one."""
    message = "" if failure.message == failure.reason else failure.message
    text = " ".join(part for part in (str(failure.code or ""), failure.reason, message) if part)
    remedy = _BY_STATUS.get(failure.code, "")
    if failure.code == 404:
        remedy = f"this is no API server, or one before Kubernetes {resource.since}, which is too old"
    return f"{text} - {remedy}" if remedy else text
