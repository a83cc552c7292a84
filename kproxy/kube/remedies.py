"""What follows from an error of the API server's: for the reflector, and for who reads the log."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from kproxy.kube.requests import Phase, Purpose

if TYPE_CHECKING:
    from kproxy.kube.resources import Resource
    from kproxy.kube.stream import Failure

SERVER_WIDE = frozenset({0, 401, 429, 502, 503, 504})
"""HTTP statuses that concern the server and not the resource that was asked for; 0: there was no answer."""

OURS = frozenset({401, 403})
"""Statuses of a server that works, but not for us."""

PASSING = frozenset({401, 403, 429, 503})
"""Statuses that say nothing of streamed lists: lists would meet the same."""

_BY_STATUS = {
    401: "the token or certificate has expired or is another cluster's; it is read again at each attempt",
    403: "grant what deploy/rbac.yaml holds",
}


class Meaning(Enum):
    """What an error says."""

    NOT_SERVED = "an older server, which has no such objects"
    EXPIRED = "the version is forgotten, which is normal after a while"
    NO_STREAMED_LISTS = "a server that streams no lists"
    BAD_VERSION = "the version is none of this server's"
    FAILURE = "try again"


def meaning(failure: Failure, resource: Resource, purpose: Purpose, phase: Phase) -> Meaning:
    """Tell what an error means that a request with this purpose met in this phase."""
    code = failure.code
    if code == 404 and resource.optional:
        return Meaning.NOT_SERVED
    if code == 410 or failure.reason in ("Expired", "Gone"):
        return Meaning.EXPIRED
    if purpose is Purpose.STREAMED_LIST:
        # Within the stream anything else is about it. 500: its etcd is too old for that.
        if phase is Phase.INITIAL and code not in PASSING:
            return Meaning.NO_STREAMED_LISTS
        if phase is Phase.REFUSED and code in (400, 405, 415, 422, 501):
            return Meaning.NO_STREAMED_LISTS
    if code in (400, 422) or "Too large resource version" in failure.message:
        return Meaning.BAD_VERSION
    return Meaning.FAILURE


def told(failure: Failure, resource: Resource) -> str:
    """Return a refusal as "code reason message - remedy", each part only if there is one."""
    message = "" if failure.message == failure.reason else failure.message
    text = " ".join(part for part in (str(failure.code or ""), failure.reason, message) if part)
    remedy = _BY_STATUS.get(failure.code, "")
    if failure.code == 404:
        remedy = f"this is no API server, or one before Kubernetes {resource.since}, which is too old"
    return f"{text} - {remedy}" if remedy else text
