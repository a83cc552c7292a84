from __future__ import annotations

import pytest

from kproxy.dns.proc_net import read_bound

UDP = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  122: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 18231 2 0000000000000000 0
  129: 00000000:0043 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18999 2 0000000000000000 0
  140: 0100007F:0035 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 20001 2 0000000000000000 0
"""
_ANY6 = "0" * 32
TCP6 = f"""\
  sl  local_address remote_address st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: {"0" * 24}01000000:0035 {_ANY6}:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31000 1 0
   1: B80D0120{"0" * 16}01000000:0035 {_ANY6}:0000 01 00000000:00000000 00:00000000 00000000     0        0 31001 1 0
"""


def test_sockets_that_take_what_comes() -> None:
    assert [(str(one.address), one.port, one.inode) for one in read_bound(UDP)] == [
        ("127.0.0.53", 53, "18231"),
        ("0.0.0.0", 67, "18999"),
    ]
    assert [(str(one.address), one.port, one.inode) for one in read_bound(TCP6)] == [("::1", 53, "31000")]


@pytest.mark.parametrize(
    ("host", "meets"), [("127.0.0.53", True), ("127.0.0.1", False), ("0.0.0.0", True), ("::1", False)]
)
def test_who_meets_whom(host: str, meets: bool) -> None:
    assert read_bound(UDP)[0].meets(host) is meets
