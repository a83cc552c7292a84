"""Names that are not to be asked of anybody: `localhost` and `invalid` (RFC 6761), `onion` (RFC 7686).

Search lists, and programs that should have known better, send them to every resolver. `local` is not among them: there
are networks that have it as their own zone, whatever RFC 6762 says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.dns.codes import AAAA, A
from kproxy.dns.records import Answer, Authority, RRset, no_data, no_name

if TYPE_CHECKING:
    from typing import Final

LOCALHOST: Final = b"\x09localhost\0"
NOWHERE: Final = (b"\x07invalid\0", b"\x05onion\0")
LOOPBACK: Final = {A: b"\x7f\0\0\1", AAAA: bytes(15) + b"\1"}
TTL: Final = 86400


def special_answer(name: bytes, starts: list[int], qtype: int) -> Answer | None:
    """Return the answer for a special name (lower case, wire form), None for any other."""
    top = name[starts[-1] :] if starts else b""
    if top == LOCALHOST:
        if qtype in LOOPBACK:
            return Answer(Authority(top, 1), answer=(RRset(qtype, TTL, (LOOPBACK[qtype],)),))
        return no_data(Authority(top, 1), qtype)
    return no_name(Authority(top, 1)) if top in NOWHERE else None
