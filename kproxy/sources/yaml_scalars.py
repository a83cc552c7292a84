"""What a YAML scalar is: null, a boolean, a number or a string, as Kubernetes reads it.

YAML 1.1 without timestamps, base-60 numbers (`2001:10:20:30:40:50:1:2` is an address) and the `=` type.
"""

from __future__ import annotations

import re
from typing import Final

Scalar = str | int | float | bool | None

SPECIAL_FIRST: Final = frozenset("~nNyYtTfFoO+-.0123456789")
"""The first characters of plain scalars that may be something else than strings (the empty one is null)."""

_TAG: Final = "tag:yaml.org,2002:"
_INT = r"[-+]?(?:0b[0-1_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)"
_FLOAT = (
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_PLAIN: Final = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>yes|Yes|YES|true|True|TRUE|on|On|ON)"
    r"|(?P<false>no|No|NO|false|False|FALSE|off|Off|OFF)"
    rf"|(?P<int>{_INT})|(?P<float>{_FLOAT})"
)
_STRING_TAGS: Final = frozenset({f"{_TAG}str", f"{_TAG}timestamp"})
_TAGS: Final = {
    f"{_TAG}null": {"null"},
    f"{_TAG}bool": {"true", "false"},
    f"{_TAG}int": {"int"},
    f"{_TAG}float": {"float", "int"},
}


def plain_value(text: str) -> Scalar:
    """Return what a plain scalar without a tag is. Raises ValueError for a number that is none ("0x_")."""
    match = _PLAIN.fullmatch(text)
    return text if match is None else _value(text, str(match.lastgroup))


def tagged_value(tag: str, text: str) -> Scalar:
    """Return the value of a scalar with an explicit tag (`!!str 80`).

    Raises KeyError for a tag that is not read, ValueError for a text that is not what its tag says, OverflowError for a
    number too large for that.
    """
    if tag in _STRING_TAGS:
        return text
    kinds = _TAGS[tag]
    match = _PLAIN.fullmatch(text)
    if match is None or match.lastgroup not in kinds:
        raise ValueError(text)
    value = _value(text, str(match.lastgroup))
    return float(value) if tag == f"{_TAG}float" and value is not None else value


def key_text(value: object, text: str) -> str:
    """Return the key that JSON has for a YAML key: `1: x` is "1", `on: x` is "true". `text` is the key as written.

    Raises TypeError for a list or a mapping as a key.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return text
    raise TypeError


def _value(text: str, kind: str) -> Scalar:
    if kind == "null":
        return None
    if kind in ("true", "false"):
        return kind == "true"
    digits = text.replace("_", "").lower()
    if kind == "float":
        return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    if digits[:2] in ("0b", "0x"):
        return sign * int(digits[2:], 2 if digits[1] == "b" else 16)
    return sign * int(digits, 8 if digits[0] == "0" else 10)
