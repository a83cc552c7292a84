"""Names for the endpoints of one zone of the cloud: `ZONE.pin._zone.SERVICE.NAMESPACE.svc`, and `prefer` for `pin`.

CoreDNS's form (its option `zonal`). `pin` is only the endpoints of that zone, `prefer` all of them where it has none. A
zone's name may have dots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.slices import SliceRecord

MARK: Final = b"_zone"
PIN: Final = b"pin"
PREFER: Final = b"prefer"


def in_zone(slices: Iterable[SliceRecord], zone: bytes) -> list[SliceRecord]:
    """Return what slices have of the endpoints of a zone (its name in lower case)."""
    found = []
    for slice_ in slices:
        kept = [index for index, own in enumerate(slice_.zones) if own == zone]
        if kept:
            addresses = tuple([slice_.addresses[index] for index in kept])
            names = tuple([slice_.names[index] for index in kept]) if slice_.names else ()
            found.append(msgspec.structs.replace(slice_, addresses=addresses, names=names, zones=(zone,) * len(kept)))
    return found
