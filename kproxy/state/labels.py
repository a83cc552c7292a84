"""Names that Kubernetes takes from DNS."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


def is_label(text: str) -> bool:
    """Tell whether a text is an RFC 1123 label: names of Services, namespaces, ports, hosts."""
    return _LABEL.match(text) is not None
