"""What lies outside the zone: a small world that answers forwarded queries, written with dnspython."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from kproxy.dns.upstream import read_response

if TYPE_CHECKING:
    from kproxy.dns.forward import Forward

RECORDS = {
    ("target.example.", "A"): ["192.0.2.4"],
    ("www.example.org.", "A"): ["192.0.2.80", "192.0.2.81"],
}


def answer(query: dns.message.Message) -> dns.message.Message:
    """The reply of a server that knows `RECORDS`."""
    question = query.question[0]
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    name, qtype = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
    data = RECORDS.get((name, qtype))
    if data:
        reply.answer.append(dns.rrset.from_text(question.name, 5, "IN", qtype, *data))
    elif not any(known == name for known, _ in RECORDS):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply


def complete(forward: Forward) -> bytes:
    """The client's reply to a forwarded query."""
    reply = answer(dns.message.from_wire(forward.question.message(1)))
    return forward.complete(read_response(reply.to_wire(), forward.question))
