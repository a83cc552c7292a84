"""The share of new connections that each endpoint gets, by exact arithmetic over the rules themselves."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from kproxy.plan.nftables.expressions import Numgen, Verdict
from kproxy.plan.nftables.packing import LOCAL_SLOTS
from kproxy.plan.nftables.picks import PREPARED, balance, prepared_picks, size_of
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from kproxy.plan.nftables.model import Chain


def test_sizes() -> None:
    assert [size_of(number) for number in (0, 1, 3, 4, 5, 8, 9, 64, 65, 1000)] == [0, 4, 4, 4, 8, 8, 16, 64, 128, 1024]


def tries(
    endpoints: int, family: Family = Family.IPV4, *, node_port: bool = False, local: bool = False
) -> list[Numgen]:
    """The random numbers that a packet gets, in the order of the rules."""
    made = balance(family, size_of(endpoints), node_port=node_port, local=local)
    chains: dict[str, Chain] = {chain.name: chain for chain in (*prepared_picks(family), *made)}
    found = []
    for rule in made[-1].rules:
        [verdict] = rule.expressions
        assert isinstance(verdict, Verdict)
        [pick] = chains[verdict.chain].rules
        found += [part for part in pick.expressions if isinstance(part, Numgen)]
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node_port", [False, True])
def test_both_lists_of_a_frontend_are_tried_alike(family: Family, node_port: bool) -> None:
    cluster = tries(100, family, node_port=node_port)
    local = tries(100, family, node_port=node_port, local=True)
    assert [one.modulus for one in cluster] == [one.modulus for one in local] == [128] * 8 + [64, 1]
    assert {one.offset for one in cluster} == {0}
    assert {one.offset for one in local} == {LOCAL_SLOTS}


@pytest.mark.parametrize("endpoints", [*range(1, 70), 100, 128, 129, 500, 513, 1000])
def test_shares(endpoints: int) -> None:
    shares = [Fraction(0)] * endpoints
    left = Fraction(1)
    for one in tries(endpoints):
        filled = min(endpoints, one.modulus)
        for slot in range(filled):
            shares[slot] += left / one.modulus
        left *= 1 - Fraction(filled, one.modulus)
    assert left == 0, "no packet is left over"
    assert sum(shares) == 1
    assert all(abs(share * endpoints - 1) <= Fraction(4, 1000) for share in shares)


def test_every_pick_up_to_the_largest_prepared_is_there() -> None:
    names = {chain.name for chain in prepared_picks(Family.IPV4)}
    assert len(names) == 4 * len(PREPARED)
    for endpoints in range(1, 65):
        made = balance(Family.IPV4, size_of(endpoints), node_port=False, local=True)
        assert [chain.name for chain in made] == [f"balance-local-{size_of(endpoints)}"]
    assert [chain.name for chain in balance(Family.IPV4, 256, node_port=True, local=False)] == [
        "nodeport-pick-128",
        "nodeport-pick-256",
        "nodeport-balance-256",
    ]
