"""Names of chains. They are kube-proxy's, hash included, so that either program can take over from the other.

A name is a prefix and the first 16 characters of base32(SHA-256(...)): 24 or 25 of the 28 that the kernel allows.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kproxy.state.service import ServicePortName

CLUSTER_PREFIX = "KUBE-SVC-"
LOCAL_PREFIX = "KUBE-SVL-"
EXTERNAL_PREFIX = "KUBE-EXT-"
FIREWALL_PREFIX = "KUBE-FW-"
ENDPOINT_PREFIX = "KUBE-SEP-"
PER_SERVICE_PREFIXES = (CLUSTER_PREFIX, LOCAL_PREFIX, EXTERNAL_PREFIX, FIREWALL_PREFIX, ENDPOINT_PREFIX)
"""nat chains that start so are per Service: whichever is not wanted any more is deleted, also by kube-proxy."""

PROBE_CHAIN = "KUBE-PROXY-PROBE"
"""Holds the rules that are tried at the start; normally gone a moment later."""

MAX_CHAIN_NAME = 28
"""XT_EXTENSION_MAXNAMELEN - 1 (linux/netfilter/x_tables.h)."""


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:16].decode()


def port_hash(name: ServicePortName) -> str:
    """Return the hash that the SVC, SVL, EXT and FW chains of a port share."""
    return _hash(f"{name}{name.protocol.lower()}")


def endpoint_name(name: ServicePortName, address: str) -> str:
    """Return KUBE-SEP-...: kube-proxy's chain of an endpoint ("ip:port"); here the name of its affinity list."""
    return ENDPOINT_PREFIX + _hash(f"{name}{name.protocol.lower()}{address}")


def dispatch_chain(what: str) -> str:
    """Return the name of a branch of a dispatch tree ("10.96.1.0/24"): readable where it fits, else hashed.

    It starts as a per-service chain does, so that kube-proxy removes it as stale when the node is given back.
    """
    name = CLUSTER_PREFIX + what
    return name if len(name) <= MAX_CHAIN_NAME else CLUSTER_PREFIX + _hash(f"dispatch {what}")
