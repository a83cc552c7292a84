"""Inside is a kernel with all that the tests there need, so that none of them is passed over for want of it."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from tests.flows.sctp import SCTP_MISSING
from tests.uml.machine import INSIDE

pytestmark = [
    pytest.mark.uml,
    pytest.mark.skipif(os.environ.get(INSIDE) != "1", reason="this is about the kernel of tests/uml"),
]


def in_new_namespace(script: str) -> str:
    done = subprocess.run(["unshare", "--net", "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_sctp() -> None:
    assert SCTP_MISSING == ""
    socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()


@pytest.mark.parametrize("family", ["ip", "ip6", "inet"])
def test_it_has_nf_tables_in_every_family(family: str) -> None:
    assert f"table {family} t" in in_new_namespace(f"nft add table {family} t; nft list tables")


@pytest.mark.parametrize("tool", [f"{ip}tables-{variant}" for ip in ("ip", "ip6") for variant in ("nft", "legacy")])
def test_it_has_both_iptables_in_both_families(tool: str) -> None:
    in_new_namespace(f"{tool} -t nat -A OUTPUT -m statistic --mode random --probability 0.5 -j MARK --set-mark 1")


def test_it_has_dummy_links_and_ipvs_with_every_scheduler() -> None:
    schedulers = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"]
    add = "; ".join(f"ipvsadm -A -f {number} -s {name}" for number, name in enumerate(schedulers, start=1))
    listed = in_new_namespace(f"ip link add kube-ipvs0 type dummy; {add}; ipvsadm -Ln")
    assert [line.split()[2] for line in listed.splitlines() if line.startswith("FWM")] == schedulers
