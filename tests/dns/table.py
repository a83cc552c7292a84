"""Questions and answers, as a table (rows.txt). The same rows are asked of the responder alone and over sockets.

`[shop]` opens the questions for one of the clusters in fixtures.py. A row: number, name (without the zone; a dot at
its end makes it whole; an address stands for its reverse name), type, rcode, answer, additional. Records are parted by
commas; an expected name may leave the zone out too. "SOA" as the answer: none, and the zone's SOA as the authority.
"forward": not ours to answer. An indented line goes on with the one before.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.reversename

from tests.dns.cluster import records


class Row(NamedTuple):
    cluster: str
    number: str
    name: str
    qtype: str
    rcode: str
    answer: tuple[str, ...]
    additional: tuple[str, ...]
    zone: str

    def __str__(self) -> str:
        return f"{self.number}-{self.name}-{self.qtype}"


ZONE = "cluster.local."

TABLE = Path(__file__).with_name("rows.txt").read_text(encoding="utf-8")


def rows() -> list[Row]:
    """All rows."""
    found = []
    cluster = ""
    for line in TABLE.replace("\n  ", " ").splitlines():
        if line.startswith("["):
            cluster = line[1 : line.index("]")]
        elif line:
            found.append(_row(cluster, *line.split(None, 4)))
    return found


def _row(cluster: str, number: str, name: str, qtype: str, rcode: str, rest: str) -> Row:
    name = dns.reversename.from_address(name).to_text() if ":" in name else name
    asked = name if name.endswith(".") else f"{name}.{ZONE}"
    answer, _, additional = rest.partition("|")
    zone = ""
    if answer.strip().startswith("SOA") and answer.count(" ") <= 1:
        zone = answer.strip().removeprefix("SOA").strip() or ZONE
        answer = ""
    expected = "" if answer.strip() == "none" else answer
    return Row(
        cluster,
        number,
        asked,
        qtype,
        rcode,
        tuple(_record(text, asked) for text in expected.split(",") if text.strip()),
        tuple(_record(text, asked) for text in additional.split(",") if text.strip()),
        zone,
    )


def _record(text: str, owner: str) -> str:
    """An expected record, whole: "owner ttl type data"."""
    words = text.split()
    if not (words[0].isupper() or words[0].isdigit()):
        owner = _whole(words.pop(0))
    ttl = words.pop(0) if words[0].isdigit() else "5"
    names = {"SRV": (4,), "CNAME": (1,), "NS": (1,), "PTR": (1,), "SOA": (1, 2)}.get(words[0], ())
    words = [_whole(word) if at in names else word for at, word in enumerate(words)]
    return " ".join([owner, ttl, *words])


def _whole(name: str) -> str:
    return name if name.endswith(".") else f"{name}.{ZONE}"


def check(row: Row, reply: dns.message.Message, *, serial: int = 4711) -> None:
    """The reply is the row's; `serial` is that of the SOA."""
    assert dns.rcode.to_text(reply.rcode()) == row.rcode
    # dnspython compares names in any case; here spelling counts.
    assert reply.question[0].name.to_text() == row.name
    assert records(reply.answer) == {text.replace(" 4711 ", f" {serial} ") for text in row.answer}
    assert records(reply.additional) == set(row.additional)
    if row.rcode == "REFUSED":
        return
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.TC
    assert [rrset.name.to_text() for rrset in reply.authority] == ([row.zone] if row.zone else [])
    for rrset in reply.authority:
        soa = f"ns.dns.{row.zone} hostmaster.{row.zone} {serial} 7200 1800 86400 5"
        assert (rrset.ttl, rrset[0].to_text()) == (5, soa)
    types = [dns.rdatatype.to_text(rrset.rdtype) for rrset in reply.answer]
    if "CNAME" in types:
        assert types[0] == "CNAME"
