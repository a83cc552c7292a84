"""The table of questions, asked of the responder itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import dns.message
import pytest

from kproxy.dns.forward import Forward
from kproxy.dns.responder import Responder
from tests.dns.fixtures import make_zone
from tests.dns.outside import complete
from tests.dns.table import Row, check, rows

SERVER_TESTS = [
    *Path(__file__).with_name("server").glob("test_*.py"),
    *Path(__file__).parents[1].glob("controlplane/*.py"),
]


@cache
def responder(cluster: str, *, tcp: bool) -> Responder:
    return Responder(make_zone(cluster), tcp=tcp, recursion=True)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("row", rows(), ids=str)
def test_row(row: Row, tcp: bool) -> None:
    query = dns.message.make_query(row.name, row.qtype, use_edns=0, payload=1232)
    reply = responder(row.cluster, tcp=tcp).answer(query.to_wire())
    if isinstance(reply, Forward):
        if row.rcode == "forward":
            assert not reply.ours
            return
        reply = complete(reply)
    assert isinstance(reply, bytes)
    message = dns.message.from_wire(reply)
    assert query.is_response(message)
    check(row, message)


def test_every_row_is_asked_of_a_running_server() -> None:
    """In the table, or by a test that bears its number (56 has two parts): 1 to 145."""
    named = {int(re.match(r"\d+", row.number)[0]) for row in rows()}  # type: ignore[index]
    for path in SERVER_TESTS:
        for first, how, last in re.findall(r"def test_(\d+)(?:_(and|to)_(\d+))?_", path.read_text(encoding="utf-8")):
            named |= {*range(int(first), int(last) + 1)} if how == "to" else {int(first), int(last or first)}
    assert named == {*range(1, 146)}
