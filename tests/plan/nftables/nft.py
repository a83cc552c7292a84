"""What nft and the kernel can't say to each other, so that tests feed nft the rest."""

from __future__ import annotations

from functools import cache

from tests.netlink.netns import PrivateNetns

PROTOCOL_IN_AN_INTERVAL = """
table ip probe {
    set ranges { typeof ip daddr . meta l4proto; flags interval; }
    chain check { ip daddr . meta l4proto @ranges drop; }
}
"""


@cache
def swaps_one_byte() -> bool:
    """Whether the kernel takes what nft 1.0.6 makes of `meta l4proto` in the key of an interval set.

    It swaps the bytes of it, though it is only one. Linux 6.12.117 refuses that. kproxy's own rule has no such thing.
    """
    with PrivateNetns() as netns:
        done = netns.attempt("nft", "-f", "-", stdin=PROTOCOL_IN_AN_INTERVAL)
    assert done.returncode == 0 or "not supported" in done.stderr, done.stderr
    return done.returncode == 0


def readable(text: str) -> str:
    """The text without the one rule that nft can't have the kernel take, where that is so."""
    if swaps_one_byte():
        return text
    return "\n".join(line for line in text.splitlines() if not line.endswith("!= @firewall-ranges drop"))
