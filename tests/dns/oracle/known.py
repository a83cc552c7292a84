"""Where kproxy differs from CoreDNS on purpose. Each is a row of docs/differences.md, by its first column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Reply(NamedTuple):
    """What counts of a reply. The SOA's serial, and who speaks, are left out; so is RA."""

    rcode: str
    flags: str
    answer: frozenset[str]
    authority: frozenset[str]
    additional: frozenset[str]


class Asked(NamedTuple):
    """One question and both answers."""

    name: str
    qtype: str
    theirs: Reply
    ours: Reply

    def __str__(self) -> str:
        return f"{self.name} {self.qtype}\n  CoreDNS {tuple(self.theirs)}\n  kproxy  {tuple(self.ours)}"


class Known(NamedTuple):
    row: str
    is_it: Callable[[Asked], bool]


def _existence(asked: Asked) -> bool:
    theirs, ours = asked.theirs, asked.ours
    return (
        {theirs.rcode, ours.rcode} == {"NOERROR", "NXDOMAIN"}
        and not theirs.answer | ours.answer | theirs.additional | ours.additional
        and theirs.authority == ours.authority
    )


def _external_name(asked: Asked) -> bool:
    first = f"{asked.name} 5 CNAME "
    return not asked.theirs.answer and any(record.startswith(first) for record in asked.ours.answer)


def _any(asked: Asked) -> bool:
    return asked.qtype == "ANY" and not asked.theirs.answer and len(asked.ours.answer) == 1


def _pod_srv(asked: Asked) -> bool:
    return asked.qtype == "SRV" and ".pod." in asked.name and not asked.ours.answer


def _below_a_pod(asked: Asked) -> bool:
    labels = asked.name.split(".")
    return labels[3:4] == ["pod"] and asked.ours.rcode == "NXDOMAIN"


def _name_server(asked: Asked) -> bool:
    if asked.theirs.answer or not asked.ours.answer:
        return False
    name = asked.name.lower()
    return (name == "cluster.local." and asked.qtype == "NS") or (
        name == "ns.dns.cluster.local." and asked.qtype == "A"
    )


def _weights(asked: Asked) -> bool:
    """Only the weights differ, and only where an endpoint is in two slices."""
    without = [{without_weight(record) for record in reply.answer} for reply in (asked.theirs, asked.ours)]
    rest = asked.theirs[3:] == asked.ours[3:]
    return "double" in asked.name and asked.qtype == "SRV" and without[0] == without[1] and rest


def without_weight(record: str) -> str:
    """An SRV record, as `records` writes it, without its weight."""
    words = record.split()
    return " ".join(words[:4] + words[5:])


def _special(asked: Asked) -> bool:
    return asked.name.lower().endswith(("localhost.", ".invalid.", ".onion.")) and "AA" in asked.ours.flags


KNOWN = (
    Known("`localhost`, `invalid` and `onion` are asked of the upstreams", _special),
    Known("a name may exist for one type of record and not for another", _existence),
    Known("an ExternalName Service has its CNAME only for A, AAAA and CNAME queries", _external_name),
    Known("ANY is answered as if there were nothing", _any),
    Known("a Pod's name has an SRV record, with port 0", _pod_srv),
    Known("`x.1-2-3-4.NAMESPACE.pod` is answered like the Pod's name", _below_a_pod),
    Known(
        "an NS query for the zone finds nothing where `bind` names an address, or in other case than configured",
        _name_server,
    ),
    Known("an endpoint that is in two slices counts twice in the weights of SRV records", _weights),
)
