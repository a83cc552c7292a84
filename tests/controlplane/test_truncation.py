"""Data ends where it was told to, however it is cut into pieces on its way."""

from __future__ import annotations

import pytest

from tests.controlplane.truncation import Truncation

DATA = '{"name":"café"}\nabab abac'.encode()


def passed(truncation: Truncation, piece: int) -> tuple[bytes, bool]:
    """What comes through when `DATA` arrives in pieces of that size, and whether the end was reached."""
    through = b""
    for start in range(0, len(DATA), piece):
        part, last = truncation.take(DATA[start : start + piece])
        through += part
        if last:
            return through, True
    return through, False


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (b"{", DATA[:1]),
        ("caf\u00e9".encode()[:-1], DATA[:13]),
        (b"abac", DATA),
        (b"aba", DATA[:20]),
    ],
)
def test_behind_a_marker(marker: bytes, expected: bytes, piece: int) -> None:
    assert passed(Truncation(marker=marker), piece) == (expected, True)


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
def test_a_marker_that_does_not_come_lets_all_through(piece: int) -> None:
    assert passed(Truncation(marker=b"nowhere"), piece) == (DATA, False)


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("count", [1, 13, len(DATA)])
def test_after_a_number_of_bytes(count: int, piece: int) -> None:
    assert passed(Truncation(left=count), piece) == (DATA[:count], True)
