"""Which node ports are relayed on localhost, and to whom (kube-proxy 1.37, reference section 3.6)."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.plan.localhost_ports import LocalhostPort, localhost_ports, names_loopback
from kproxy.state.addresses import FAMILIES, Family
from tests.plan.test_intent import ETP, NODE_PORT, plan
from tests.state.shorthand import PORT, pod_ip

A1, B1 = (pod_ip("a1"), PORT), (pod_ip("b1"), PORT)
UDP = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]}
STICKY = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}


@pytest.mark.parametrize(
    ("spec", "endpoints", "expected"),
    [
        (NODE_PORT, "a1 b1", [LocalhostPort(30080, (A1, B1))]),
        (NODE_PORT, "b1!term", [LocalhostPort(30080, (B1,))]),
        (NODE_PORT, "", []),
        (NODE_PORT, "a1!dead", []),
        (NODE_PORT | ETP, "a1 b1", [LocalhostPort(30080, (A1,))]),
        (NODE_PORT | ETP, "b1", []),
        (NODE_PORT | STICKY, "a1", [LocalhostPort(30080, (A1,), 60)]),
        (UDP, "a1", []),
        ({}, "a1", []),
    ],
)
def test_what_is_relayed(spec: dict[str, Any], endpoints: str, expected: list[LocalhostPort]) -> None:
    assert list(localhost_ports([plan(spec, endpoints)])) == expected


@pytest.mark.parametrize(
    ("addresses", "families"),
    [
        ((), ()),
        (("primary",), ()),
        (("all",), ()),
        (("0.0.0.0/0", "::/0"), ()),
        (("10.0.0.0/8",), ()),
        (("localhost",), FAMILIES),
        (("primary", "localhost"), FAMILIES),
        (("127.0.0.0/8",), (Family.IPV4,)),
        (("127.0.0.1/32", "10.0.0.0/8"), (Family.IPV4,)),
        (("::1/128",), (Family.IPV6,)),
    ],
)
def test_loopback_counts_where_it_is_named(addresses: tuple[str, ...], families: tuple[Family, ...]) -> None:
    assert names_loopback(addresses) == set(families)
