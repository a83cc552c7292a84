"""What of a service port is in the packet filter's table."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.plan.ipvs.filter import elements, short_cuts
from tests.plan.ipvs.rig import NODE_IP, intents

SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "forwarded": ("a1 b1", {}),
    "refused": ("", {}),
    "a short cut": ("a1 b1", {"externalTrafficPolicy": "Local"}),
    "dropped, but for the short cut": ("b1", {"externalTrafficPolicy": "Local"}),
    "source ranges": ("a1", {"loadBalancerSourceRanges": ["198.51.100.0/24", f"{NODE_IP}/32"]}),
    "a node port besides": ("a1", {"ports": [{"port": 80, "nodePort": 30080}]}),
}


@pytest.mark.parametrize(("endpoints", "spec"), SPECS.values(), ids=SPECS)
def test_the_nodes_own_address_is_left_alone(endpoints: str, spec: dict[str, Any]) -> None:
    """The node's own port is neither refused nor translated: as if the Service had not named the address."""
    balanced: dict[str, Any] = {"type": "LoadBalancer", **spec}
    others = intents(endpoints, externalIPs=["192.0.2.41"], ingress=[{"ip": "203.0.113.41"}], **balanced)
    also_the_nodes = intents(
        endpoints,
        externalIPs=[NODE_IP, "192.0.2.41"],
        ingress=[{"ip": "203.0.113.41"}, {"ip": NODE_IP}],
        **balanced,
    )
    for of_mode in (elements, short_cuts):
        wanted, found = ([*of_mode(one, NODE_IP)] for (one,) in (others, also_the_nodes))
        assert found == wanted
