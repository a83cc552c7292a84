"""Marks for tests that need what not every kernel has; they are played in User-Mode Linux by `make test`."""

from __future__ import annotations

import subprocess
from functools import cache

import pytest


@cache
def ipvs_missing() -> str:
    """Why this kernel can't do IPVS mode, or that can't be told; empty when it can."""
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-ec", "ip link add kube-ipvs0 type dummy; ipvsadm -A -t 192.0.2.1:1 -s rr"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode == 0:
        return ""
    return "no IPVS or dummy links here: played in User-Mode Linux"


needs_ipvs = pytest.mark.skipif(bool(ipvs_missing()), reason=ipvs_missing())
