"""Asks a DNS server, as a pod's resolver does, with the codec that kproxy itself has."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from kproxy.dns.codes import NXDOMAIN, SRV, A
from kproxy.dns.names import absolute, text_of
from kproxy.dns.query import Malformed
from kproxy.dns.upstream import Question, read_response

if TYPE_CHECKING:
    from tests.lab import Namespace

PATIENCE_S = 1.0
TYPES = {"A": A, "SRV": SRV}


def lookup(namespace: Namespace, server: str, name: str, kind: str) -> list[str]:
    """Return what a name has of a type ("A" or "SRV"), sorted; "no such name", or "no answer"."""
    question = Question(absolute(name), TYPES[kind])
    id_ = int.from_bytes(os.urandom(2))
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect((server, 53))
        try:
            sock.send(question.message(id_))
            response = read_response(sock.recv(4096), question)
        except (OSError, Malformed):
            return ["no answer"]
    if response.rcode == NXDOMAIN:
        return ["no such name"]
    return sorted(_text(record.type, record.rdata) for record in response.answer)


def _text(kind: int, data: bytes) -> str:
    if kind == SRV:
        return f"{text_of(data[6:]).rstrip('.')}:{int.from_bytes(data[4:6])}"
    return str(ip_address(data))
