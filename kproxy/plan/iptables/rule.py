"""Pieces of rules in iptables-restore syntax: matches, comments, jumps.

Nothing that comes from an object goes into a rule without passing here or having been parsed to an address, a port
number or a hash: a comment can't break out of its quotes, and can't be longer than the kernel takes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kproxy.plan.local_traffic import LocalTraffic

MAX_COMMENT = 255
"""XT_MAX_COMMENT_LEN - 1 (linux/netfilter/xt_comment.h)."""

_UNSAFE = re.compile(r"[^ -~]|[\"\\`]")


def comment(text: str) -> str:
    """Return the comment match. Quotes, backslashes and everything outside printable ASCII become `?`."""
    return f'-m comment --comment "{_UNSAFE.sub("?", text)[:MAX_COMMENT]}"'


def frontend_match(protocol: str, ip: str, port: int) -> str:
    """Match packets to `ip` (any address when empty) and `port`."""
    proto = protocol.lower()
    destination = f" -d {ip}" if ip else ""
    return f"-m {proto} -p {proto}{destination} --dport {port}"


def reject(protocol: str) -> str:
    """Refuse a connection at once.

    TCP gets a reset: a client that is answered by an ICMPv6 error repeats its SYN and fails a second later.
    """
    return "-j REJECT --reject-with tcp-reset" if protocol == "TCP" else "-j REJECT"


def from_local(local: LocalTraffic) -> str:
    """Match traffic of the pods that the detector knows; only with a detector."""
    return _source(local, "")


def not_from_local(local: LocalTraffic) -> str:
    """Match all other traffic; only with a detector."""
    return _source(local, "! ")


def _source(local: LocalTraffic, negation: str) -> str:
    if local.cidr:
        return f"{negation}-s {local.cidr}"
    if local.interface:
        return f"{negation}-i {local.interface}"
    return f"{negation}-i {local.interface_prefix}+"
