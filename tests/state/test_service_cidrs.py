"""Which ranges clusterIPs come from: reference section 3.2, and the allocator's own idea of Ready."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kproxy.kube import wire
from kproxy.state.addresses import FAMILIES
from kproxy.state.cluster import ClusterState
from tests.state.objects import NODE, gone, here, service

V4, V6 = FAMILIES


def cidr(name: str, *cidrs: str, **conditions: str) -> wire.ServiceCIDR:
    status = {"conditions": [{"type": kind, "status": value} for kind, value in conditions.items()]}
    data: dict[str, Any] = {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}
    return msgspec.convert(data | ({"status": status} if conditions else {}), wire.ServiceCIDR)


def ranges(*objects: wire.ServiceCIDR) -> tuple[tuple[str, ...], tuple[str, ...]]:
    state = ClusterState(NODE)
    state.apply(map(here, objects))
    return state.service_cidrs[V4], state.service_cidrs[V6]


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ((), ((), ())),
        ((cidr("kubernetes", "10.96.0.0/16", "fd00::/108"),), (("10.96.0.0/16",), ("fd00::/108",))),
        ((cidr("kubernetes", "10.96.0.0/16", Ready="True"),), (("10.96.0.0/16",), ())),
        ((cidr("going", "10.96.0.0/16", Ready="False"),), ((), ())),
        ((cidr("strange", "10.96.0.0/16", Ready="Unknown"),), ((), ())),
        ((cidr("other", "10.96.0.0/16", Other="False"),), (("10.96.0.0/16",), ())),
        ((cidr("b", "10.97.0.0/16"), cidr("a", "10.96.0.0/16")), (("10.96.0.0/16", "10.97.0.0/16"), ())),
        ((cidr("b", "10.96.0.0/16"), cidr("a", "10.96.0.0/16")), (("10.96.0.0/16",), ())),
        ((cidr("loose", "10.96.1.7/16"),), (("10.96.0.0/16",), ())),
    ],
)
def test_ranges(objects: tuple[wire.ServiceCIDR, ...], expected: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    assert ranges(*objects) == expected
    assert ranges(*reversed(objects)) == expected


def test_a_change_of_the_ranges_is_to_be_planned() -> None:
    state = ClusterState(NODE)
    state.apply([here(service()), here(cidr("a", "10.96.0.0/16"))])
    state.take_dirty()
    state.apply([here(cidr("a", "10.96.0.0/16", Ready="True"))])
    assert state.take_dirty() == (set(), False)
    state.apply([here(cidr("b", "10.97.0.0/16"))])
    assert state.take_dirty() == (set(), True)
    state.apply([gone(cidr("a"))])
    assert state.take_dirty() == (set(), True)
    assert state.service_cidrs[V4] == ("10.97.0.0/16",)


def test_one_that_is_wrong_is_named_and_its_last_good_version_stays() -> None:
    state = ClusterState(NODE)
    state.apply([here(cidr("a", "10.96.0.0/16")), here(cidr("a", "fd00::/108", "10.96.0.0"))])
    assert [str(problem) for problem in state.problems()] == [
        "ServiceCIDR a: spec.cidrs[1]: '10.96.0.0' has no prefix length"
    ]
    assert state.service_cidrs == {V4: ("10.96.0.0/16",), V6: ()}
    state.apply([here(cidr("a", "10.98.0.0/16"))])
    assert state.problems() == []
    assert state.service_cidrs[V4] == ("10.98.0.0/16",)
