"""A shorthand for endpoints: one word each, for tables.

`a1` is the ready endpoint number 1 on node A (the node under test), `b2` number 2 on node B. After the name, in any
order: `!term` serving and terminating, `!left` terminating and no longer serving, `!dead` neither ready nor serving,
`!unready` serving but not ready, `@z1` hinted for zone z1, `%node-a` hinted for node-a (both may be repeated).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from kproxy.state.addresses import Family
from tests.state import objects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.kube import wire
    from kproxy.state.endpoints import Endpoint

PORT = 8080

_CONDITIONS: dict[str, dict[str, bool]] = {
    "": {},
    "unready": {"ready": False, "serving": True},
    "dead": {"ready": False, "serving": False},
    "term": {"ready": False, "serving": True, "terminating": True},
    "left": {"ready": False, "serving": False, "terminating": True},
}


def pod_ip(name: str, family: Family = Family.IPV4) -> str:
    """The address of a pod: a1 is 10.180.0.1 and fd00:180:a::1."""
    node, number = name[0], int(name[1:])
    if family is Family.IPV4:
        return f"10.180.{'ab'.index(node)}.{number}"
    return f"fd00:180:{node}::{number}"


def wire_endpoint(word: str, family: Family = Family.IPV4) -> dict[str, Any]:
    """A word as it stands in a slice."""
    name, *marks = re.split(r"(?=[!@%])", word)
    state = next((mark[1:] for mark in marks if mark[0] == "!"), "")
    return objects.endpoint(
        pod_ip(name, family),
        node={"a": objects.NODE, "b": objects.OTHER_NODE}[name[0]],
        zones=[mark[1:] for mark in marks if mark[0] == "@"],
        nodes=[mark[1:] for mark in marks if mark[0] == "%"],
        **_CONDITIONS[state],
    )


def make_endpoints(words: str, family: Family = Family.IPV4) -> tuple[Endpoint, ...]:
    """The endpoints of one port, as the state hands them to the planner."""
    made = [wire_endpoint(word, family) for word in words.split()]
    slice_ = objects.endpoint_slice("s", made, family=family, ports=[{"name": "", "port": PORT}])
    by_family, warnings = objects.merged({"s": slice_})
    assert not warnings
    return by_family.get(family, {}).get(("", "TCP"), ())


def make_slice(words: str, name: str, of: str, family: Family, ports: Iterable[dict[str, Any]]) -> wire.EndpointSlice:
    """The slice that lists the endpoints, for all `ports` ({"name", "port", "protocol"})."""
    made = [wire_endpoint(word, family) for word in words.split()]
    slice_ = objects.endpoint_slice(name, made, of=of, family=family, ports=list(ports))
    return msgspec.structs.replace(slice_)


def names(endpoints: Iterable[Endpoint]) -> str:
    """Endpoints back to words, without their states: "a1 b1"."""
    return " ".join(name_of(endpoint.ip) for endpoint in endpoints)


def name_of(ip: str) -> str:
    """The pod that has an address."""
    for family in Family:
        for node in "ab":
            prefix = pod_ip(f"{node}0", family)[:-1]
            if ip.startswith(prefix):
                return node + ip.removeprefix(prefix)
    raise ValueError(f"{ip} is no pod's")
