"""The table of questions, asked of the responder itself."""

from __future__ import annotations

from functools import cache

import dns.message
import pytest

from kproxy.dns.forward import Forward
from kproxy.dns.responder import Responder
from tests.dns.fixtures import make_zone
from tests.dns.outside import complete
from tests.dns.table import Row, check, rows


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
