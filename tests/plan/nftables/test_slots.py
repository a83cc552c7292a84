"""Slots: no gap, no endpoint twice, and few moves, whatever the history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.plan.nftables.packing import LOCAL_SLOTS, pack_slot, unpack_slot
from kproxy.plan.nftables.slots import SlotTable, arrange

WIDTH = 8
BASES = (0, LOCAL_SLOTS)
FRONTENDS = (b"front-1.", b"front-2.")

LISTS = st.lists(st.integers(0, 30), unique=True, max_size=12)
NAMES = st.tuples(st.sampled_from(FRONTENDS), st.sampled_from(BASES))
STEPS: st.SearchStrategy[tuple[str, tuple[bytes, int], list[int]]] = st.one_of(
    st.tuples(st.just("want"), NAMES, LISTS),
    st.tuples(st.sampled_from(["commit", "fail", "restart"]), st.just((b"", 0)), st.just([])),
)


def endpoint(number: int) -> bytes:
    return number.to_bytes(WIDTH, "big")


def blob(*numbers: int) -> bytes:
    return b"".join(map(endpoint, numbers))


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ([], [3, 1, 2], [3, 1, 2]),
        ([1, 2, 3], [1, 2, 3], [1, 2, 3]),
        ([1, 2, 3], [3, 2, 1], [1, 2, 3]),
        ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [2, 3, 4], [4, 2, 3]),
        ([1, 2, 3, 4], [1, 2, 3], [1, 2, 3]),
        ([1, 2, 3, 4], [1, 5, 3, 4], [1, 5, 3, 4]),
        ([1, 2, 3, 4], [9], [9]),
        ([1, 2], [], []),
        # Not what we wrote, but what may be read back.
        ([1, 1, 2], [1, 2, 3], [1, 3, 2]),
    ],
)
def test_arrange(held: list[int], wanted: list[int], expected: list[int]) -> None:
    assert arrange(blob(*held), [endpoint(number) for number in wanted], WIDTH) == blob(*expected)


@given(LISTS, LISTS)
def test_arranging_moves_little(held: list[int], wanted: list[int]) -> None:
    arranged = arrange(blob(*held), [endpoint(number) for number in wanted], WIDTH)
    slots = [int.from_bytes(arranged[at : at + WIDTH], "big") for at in range(0, len(arranged), WIDTH)]
    assert sorted(slots) == sorted(wanted)
    gone, come = set(held) - set(wanted), set(wanted) - set(held)
    differing = sum(old != new for old, new in zip(held, slots, strict=False)) + abs(len(held) - len(slots))
    assert differing <= 2 * len(gone) + len(come)


@given(st.lists(STEPS, max_size=30))
def test_any_history_leaves_the_kernel_with_what_is_wanted(
    steps: list[tuple[str, tuple[bytes, int], list[int]]],
) -> None:
    table, kernel = SlotTable(WIDTH), dict[bytes, bytes]()
    wanted: dict[tuple[bytes, int], list[int]] = {}
    for what, (frontend, base), numbers in [*steps, ("commit", (b"", 0), [])]:
        match what:
            case "want":
                wanted[frontend, base] = numbers
                table.want(frontend + pack_slot(base), [endpoint(number) for number in numbers])
            case "commit":
                commit(table, kernel)
            case "fail":
                table.difference()  # and the kernel refuses it
            case "restart":
                table = SlotTable(WIDTH)
                for (front, start), list_ in wanted.items():
                    table.want(front + pack_slot(start), [endpoint(number) for number in list_])
                table.read_back(kernel, BASES)
    held = {where: [] for where, numbers in wanted.items() if numbers}  # type: dict[tuple[bytes, int], list[int]]
    for key in sorted(kernel, key=unpack_slot):
        frontend, slot = unpack_slot(key)
        base = LOCAL_SLOTS if slot >= LOCAL_SLOTS else 0
        found = held[frontend, base]
        assert slot - base == len(found), "no gap"
        found.append(int.from_bytes(kernel[key], "big"))
    assert {where: sorted(numbers) for where, numbers in held.items()} == {
        where: sorted(numbers) for where, numbers in wanted.items() if numbers
    }
    assert dict(table.elements()) == kernel


def test_what_is_read_back_and_in_no_list_is_deleted() -> None:
    table, front = SlotTable(WIDTH), FRONTENDS[0]
    table.want(front + pack_slot(0), [endpoint(1), endpoint(2)])
    kernel = {
        front + pack_slot(0): endpoint(2),
        front + pack_slot(3): endpoint(1),  # behind a gap
        front + pack_slot(LOCAL_SLOTS + 1): endpoint(7),  # likewise
        FRONTENDS[1] + pack_slot(0): b"short",
    }
    table.read_back(kernel, BASES)
    commit(table, kernel)
    assert kernel == {front + pack_slot(0): endpoint(2), front + pack_slot(1): endpoint(1)}


def commit(table: SlotTable, kernel: dict[bytes, bytes]) -> None:
    """Apply the difference as the kernel does: what is deleted must be there, what is added must not."""
    deletions, additions = table.difference()
    for key in deletions:
        del kernel[key]
    assert not kernel.keys() & additions.keys()
    kernel |= additions
    table.applied()
