"""Messages that are odd, broken or big, and what comes back. The same rows are sent to the responder and over sockets.

The cluster is "all" of fixtures.py, with `WIRE_CLUSTER` beside it.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype

from tests.dns.cluster import service, slice_

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[bytes | None], None]

LONG = "headless-svc.my-namespace"
"""43 octets with the zone, as in the reckoning of how many records fit."""

WIRE_CLUSTER = [
    service("shop/forty", "None"),
    slice_("shop/forty-1", "forty", *[f"10.245.1.{number}" for number in range(40)]),
    service("shop/many", "None"),
    slice_("shop/many-1", "many", *[f"10.245.2.{number}" for number in range(200)]),
    service("my-namespace/headless-svc", "None"),
    slice_("my-namespace/headless-svc-1", "headless-svc", *[f"10.245.3.{number}" for number in range(28)]),
    service("my-namespace/headless-sv2", "None"),
    slice_("my-namespace/headless-sv2-1", "headless-sv2", *[f"10.245.4.{number}" for number in range(29)]),
]

WEB = "web.shop.svc.cluster.local."
HEADER = struct.Struct("!6H")
ID = 0x1234


def query(name: str = WEB, qtype: str = "A", **options: object) -> bytes:
    wire: bytes = dns.message.make_query(name, qtype, id=ID, **options).to_wire()  # type: ignore[arg-type]
    return wire


def raw(question: bytes, *, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return HEADER.pack(ID, flags, *counts) + question


def opt(*, version: int = 0, flags: int = 0, size: int = 1232, options: bytes = b"") -> bytes:
    return b"\0" + struct.pack("!HHBBHH", 41, size, 0, version, flags, len(options)) + options


def question(name: str = WEB, qtype: int = 1, qclass: int = 1) -> bytes:
    return (dns.name.from_text(name).to_wire() or b"") + struct.pack("!HH", qtype, qclass)


def silence(reply: bytes | None) -> None:
    assert reply is None


def header_only(rcode: int, opcode: int = 0) -> Callable[[bytes | None], None]:
    """A bare header: nothing of the query could be read, or is worth saying again."""

    def check(reply: bytes | None) -> None:
        assert reply is not None
        assert len(reply) == 12
        id_, flags, *counts = HEADER.unpack(reply)
        assert (id_, flags & 15, flags >> 11 & 15, bool(flags & 0x8000)) == (ID, rcode, opcode, True)
        assert counts == [0, 0, 0, 0]

    return check


def read(reply: bytes | None) -> dns.message.Message:
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.id == ID
    assert message.flags & dns.flags.QR
    return message


def answers(rcode: str, count: int, *, most: int = 1232, cut: bool = False, size: int | None = None) -> Check:
    """So many answer records in at most so many octets; the name is the one asked."""

    def check(reply: bytes | None) -> None:
        message = read(reply)
        assert reply is not None
        assert dns.rcode.to_text(message.rcode()) == rcode
        assert sum(len(rrset) for rrset in message.answer) == count
        assert bool(message.flags & dns.flags.TC) is cut
        assert len(reply) <= most
        assert size is None or len(reply) == size

    return check


def plain_edns(reply: bytes | None) -> None:
    """A normal answer whose OPT says nothing but our size."""
    message = read(reply)
    assert dns.rcode.to_text(message.rcode()) == "NOERROR"
    assert message.answer
    assert (message.edns, message.payload, message.ednsflags, message.options) == (0, 1232, 0, ())


def bad_version(reply: bytes | None) -> None:
    message = read(reply)
    assert (dns.rcode.to_text(message.rcode()), message.edns, message.answer) == ("BADVERS", 0, [])


def no_reserved_bit(reply: bytes | None) -> None:
    assert reply is not None
    assert not int.from_bytes(reply[2:4]) & 0x0040
    assert read(reply).answer


def with_opt(check: Check) -> Check:
    def both(reply: bytes | None) -> None:
        check(reply)
        assert read(reply).edns == 0

    return both


class WireRow(NamedTuple):
    number: str
    message: bytes
    check: Check
    tcp: bool | None = False

    def __str__(self) -> str:
        return self.number


def wire_rows() -> list[WireRow]:
    """All rows but those that are about connections. `tcp` None: over both."""
    forty, many = "forty.shop.svc.cluster.local.", "many.shop.svc.cluster.local."
    long = b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0\0\1\0\1"
    rows = [
        WireRow("R1", random.Random(1).randbytes(11), silence),
        WireRow("R2", raw(question(), flags=0x8100), silence),
        WireRow("R4", raw(b"", counts=(0, 0, 0, 0)), header_only(1), None),
        WireRow("R5", raw(question() * 2, counts=(2, 0, 0, 0)), header_only(1), None),
        WireRow("R6", raw(b"\xc0\x0c\0\1\0\1"), header_only(1), None),
        WireRow("R7", raw(b"\x41" + b"a" * 65 + b"\0\0\1\0\1"), header_only(1), None),
        WireRow("R8", raw(long), header_only(1), None),
        WireRow("R9", raw(question() + opt(version=1), counts=(1, 0, 0, 1)), bad_version, None),
        WireRow("R10", raw(question() + opt(options=b"\0\x64\0\4spam"), counts=(1, 0, 0, 1)), plain_edns, None),
        WireRow("R11", raw(question() + opt(flags=0x80), counts=(1, 0, 0, 1)), plain_edns, None),
        WireRow("R12", raw(question() + opt() * 2, counts=(1, 0, 0, 2)), header_only(1), None),
        WireRow("R13-0", raw(question(forty) + opt(size=0), counts=(1, 0, 0, 1)), _thirteen(forty)),
        WireRow("R13-100", raw(question(forty) + opt(size=100), counts=(1, 0, 0, 1)), _thirteen(forty)),
        WireRow("R14", query(many, use_edns=0, payload=4096), with_opt(answers("NOERROR", 73, cut=True))),
        WireRow("R15", query(many, use_edns=0, payload=4096), answers("NOERROR", 200, most=65535), True),
        WireRow("R16-28", query(f"{LONG}.svc.cluster.local."), answers("NOERROR", 28, most=512, size=509)),
        WireRow(
            "R16-29",
            query(f"{LONG.replace('svc', 'sv2')}.svc.cluster.local."),
            answers("NOERROR", 28, most=512, cut=True),
        ),
        WireRow("R17-there", raw(question(qtype=65280)), answers("NOERROR", 0), None),
        WireRow("R17-not", raw(question("no.shop.svc.cluster.local.", qtype=65280)), answers("NXDOMAIN", 0), None),
        WireRow("R18", raw(question(qclass=3)), answers("REFUSED", 0), None),
        WireRow("R19", raw(question(), flags=0x0140), no_reserved_bit, None),
        WireRow("R26", query(WEB, "ANY"), answers("NOERROR", 1), None),
        WireRow("OPT as a type", raw(question(qtype=41)), answers("FORMERR", 0), None),
        WireRow("an OPT that has a name", raw(question() + b"\1a" + opt(), counts=(1, 0, 0, 1)), header_only(1), None),
        WireRow("an OPT as an answer", raw(question() + opt(), counts=(1, 1, 0, 0)), header_only(1), None),
        WireRow("a record that is cut off", raw(question() + opt()[:-1], counts=(1, 0, 0, 1)), header_only(1), None),
        WireRow("octets too many", query() + b"\0\0\0", answers("NOERROR", 1), None),
    ]
    for opcode in (1, 2, 4, 5, 6, 15):
        message = raw(question(), flags=opcode << 11)
        rows.append(WireRow(f"R3-{opcode}", message, header_only(4, opcode), None))
    return rows


def over_each_transport() -> list[tuple[WireRow, bool]]:
    """Each row, and whether it goes over TCP."""
    return [(row, tcp) for row in wire_rows() for tcp in (False, True) if row.tcp in (None, tcp)]


def _thirteen(name: str) -> Check:
    """As many as fit beside the header, the question and the OPT, in 512 octets."""
    fitting = (512 - 12 - len(question(name)) - 11) // 16
    return with_opt(answers("NOERROR", fitting, most=512, cut=True))


def mutated(seeds: list[bytes], count: int, seed: int) -> list[bytes]:
    """Messages with some octets changed, cut, put in or taken out."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        message = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            at = chance.randrange(len(message) + 1)
            match chance.randrange(5):
                case 0 if at < len(message):
                    message[at] = chance.randrange(256)
                case 1 if at < len(message):
                    message[at] ^= 1 << chance.randrange(8)
                case 2:
                    message[at:at] = chance.randbytes(chance.randrange(1, 5))
                case 3:
                    del message[at : at + chance.randrange(1, 5)]
                case _:
                    del message[at if chance.randrange(4) == 0 else len(message) :]
        made.append(bytes(message))
    return made


def fuzz_seeds() -> list[bytes]:
    """Sound queries of every kind."""
    services = ("web", "peers", "_http._tcp.peers", "many", "no", "ext", "alias")
    names = [f"{name}.shop.svc.cluster.local." for name in services]
    names += ["cluster.local.", "2.0.244.10.in-addr.arpa.", "10-1-2-3.shop.pod.cluster.local.", "www.example.org."]
    types = ("A", "AAAA", "SRV", "PTR", "NS", "SOA", "TXT", "ANY", "CNAME")
    plain = [query(name, qtype) for name in names for qtype in types]
    return plain + [query(name, qtype, use_edns=0, payload=4096) for name in names for qtype in types]
