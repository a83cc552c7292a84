"""What the layout of an expression is made of: fields, and how their values stand in the kernel's attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kproxy.netlink.message import NESTED, attribute, attribute_map
from kproxy.netlink.nftables import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Foreign(Exception):
    """An expression, or a property of one, that kproxy never writes."""


class Codec(NamedTuple):
    """How a field is written as the value of an attribute, and read. Writing None leaves the attribute out."""

    write: Callable[[Any], bytes | None]
    read: Callable[[bytes], Any]
    mark: int = 0
    """NESTED where the value is an attribute itself."""


NEEDED = object()
"""Instead of a value for when the attribute is not there."""


class Field(NamedTuple):
    """A field of an expression, which is an attribute of its own."""

    name: str
    kind: int
    codec: Codec
    absent: Any = NEEDED
    """The value when the attribute is not there."""


class Derived(NamedTuple):
    """An attribute that follows from the others; when read it must say just that, or be absent."""

    kind: int
    write: Callable[[Any], bytes | None]


class Layout(NamedTuple):
    """One type of expression: its name in the kernel, its fields, what follows from them, and its state."""

    name: str
    type: type[Any]
    fields: tuple[Field, ...]
    derived: tuple[Derived, ...] = ()
    state: frozenset[int] = frozenset()
    """Attributes that change by themselves, and padding that some architectures need: passed over."""

    def write(self, expression: Any) -> bytes:
        """Return the attributes of an expression."""
        values = [
            (field.kind | field.codec.mark, field.codec.write(getattr(expression, field.name))) for field in self.fields
        ]
        values += [(derived.kind, derived.write(expression)) for derived in self.derived]
        return b"".join(attribute(kind, value) for kind, value in values if value is not None)

    def fits(self, attributes: Mapping[int, bytes]) -> bool:
        """Tell whether these are all attributes that the layout knows, and all that it needs."""
        needed = {field.kind for field in self.fields if field.absent is NEEDED}
        known = {field.kind for field in self.fields} | {derived.kind for derived in self.derived} | self.state
        return needed <= attributes.keys() <= known

    def read(self, attributes: Mapping[int, bytes]) -> Any:
        """Return the expression that has these attributes. Raises `Foreign` for one that kproxy never writes."""
        values = {
            field.name: field.codec.read(attributes[field.kind]) if field.kind in attributes else field.absent
            for field in self.fields
        }
        expression = self.type(**values)
        for derived in self.derived:
            if derived.kind in attributes and attributes[derived.kind] != derived.write(expression):
                raise Foreign
        return expression


def u32(value: int) -> bytes:
    """Return 32 bits in network byte order; negative numbers are taken too."""
    return (value & 0xFFFFFFFF).to_bytes(4)


def words(numbers: Mapping[str, int], length: int = 4) -> Codec:
    """Return the codec of a word that is a number to the kernel."""
    back = {number.to_bytes(length): word for word, number in numbers.items()}

    def read(value: bytes) -> str:
        if value not in back:
            raise Foreign
        return back[value]

    return Codec(lambda word: numbers[word].to_bytes(length), read)


def optional(codec: Codec) -> Codec:
    """Return a codec that leaves the attribute out for None."""
    return Codec(lambda value: None if value is None else codec.write(value), codec.read)


def flag(bit: int) -> Codec:
    """Return the codec of a word of flags of which only one is ever set, or none: then the attribute is left out."""

    def read(value: bytes) -> bool:
        if wire.read_u32(value) & ~bit:
            raise Foreign
        return bool(wire.read_u32(value))

    return Codec(lambda on: u32(bit) if on else None, read)


def _read_data(value: bytes) -> bytes:
    data = attribute_map(value)
    if data.keys() != {wire.DATA_VALUE}:
        raise Foreign
    return data[wire.DATA_VALUE]


REGISTER = Codec(
    lambda register: u32(wire.register_number(register)),
    lambda value: wire.register_of(wire.read_u32(value)),
)
OPTIONAL_REGISTER = optional(REGISTER)
NUMBER = Codec(u32, wire.read_u32)
NAME = Codec(lambda text: text.encode() + b"\0", wire.read_name)
DATA = Codec(lambda value: attribute(wire.DATA_VALUE, value), _read_data, NESTED)
MILLISECONDS = Codec(lambda value: value.to_bytes(8) if value else None, wire.read_u64)
