"""Generic netlink: the header before the attributes, and how a family's message type is found out by its name. Pure.

Layouts: the kernel's include/uapi/linux/genetlink.h. The message type of a family is given out when its module loads,
so it has to be asked for first; asking loads the module.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.exchange import Request
from kproxy.netlink.message import attribute, attribute_map

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.netlink.message import Message

NETLINK_GENERIC = 16

HEADER_LENGTH = 4
_HEADER = struct.Struct("=BBH")  # command, version, reserved
_CONTROLLER = 16  # GENL_ID_CTRL
_GET_FAMILY = 3  # CTRL_CMD_GETFAMILY
_FAMILY_ID, _FAMILY_NAME = 1, 2  # CTRL_ATTR_*
_U16 = struct.Struct("=H")


def header(command: int, version: int = 1) -> bytes:
    """Return the `genlmsghdr`."""
    return _HEADER.pack(command, version, 0)


def family_request(name: str) -> Request:
    """Return the request for a family's message type; ENOENT in answer means that this kernel does not have it.

    Equivalent: `genl ctrl get name IPVS`.
    """
    body = header(_GET_FAMILY) + attribute(_FAMILY_NAME, name.encode() + b"\0")
    return Request(f"find the netlink family {name}", _CONTROLLER, body)


def read_family(name: str, answer: Iterable[Message]) -> int:
    """Return the message type from the answer to `family_request`. Raises `MalformedMessage`."""
    for message in answer:
        if message.type == _CONTROLLER and len(message.body) >= HEADER_LENGTH:
            value = attribute_map(message.body, HEADER_LENGTH).get(_FAMILY_ID, b"")
            if len(value) == _U16.size:
                return int(_U16.unpack(value)[0])
    raise MalformedMessage(f"generic netlink: the answer does not say what the family {name} is")
