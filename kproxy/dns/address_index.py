"""Who has an address. Nearly every address has one owner, so that one stands in the index itself."""

from __future__ import annotations

from typing import Generic, TypeVar

from kproxy.dns.slices import SliceRecord

Owner = TypeVar("Owner", bound=bytes | SliceRecord)


class AddressIndex(Generic[Owner]):
    """Owners by packed address."""

    def __init__(self) -> None:
        self._owners: dict[bytes, Owner | tuple[Owner, ...]] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def owners(self, address: bytes) -> tuple[Owner, ...]:
        """Return all owners of an address, in the order in which they came."""
        found = self._owners.get(address)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def add(self, address: bytes, owner: Owner) -> None:
        """Enter an owner, once more if it is there already."""
        before = self.owners(address)
        self._owners[address] = (*before, owner) if before else owner

    def remove(self, address: bytes, owner: Owner) -> None:
        """Take one of the owners out."""
        owners = self.owners(address)
        # Two slices with the same endpoints are equal, and still two.
        same = [at for at, one in enumerate(owners) if one is owner]
        at = same[0] if same else owners.index(owner)
        left = (*owners[:at], *owners[at + 1 :])
        if not left:
            del self._owners[address]
        else:
            self._owners[address] = left if len(left) > 1 else left[0]
