"""Makes the node's own DNS addresses, and leads queries to them while the server is healthy.

The addresses are those of `--dns-node-local`, and with `--dns-intercept` that of the cluster DNS Service. They stay
while the process lives; being served by us, or by the cluster's DNS through the Service's ordinary rules, is a matter
of whether connections to them are tracked (`plan/nftables/untracked.py`), and so of one transaction.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Final

from kproxy.dataplane.nftables.writer import commit
from kproxy.dns.server.selfcheck import what_is_wrong
from kproxy.errors import FeatureMissing, KernelError
from kproxy.netlink import route
from kproxy.netlink.errors import NetlinkRefused
from kproxy.netlink.nftables.faults import TransactionRefused
from kproxy.netlink.socket import NetlinkSocket
from kproxy.plan.nftables import untracked
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kproxy.health.bind import BindAddress
    from kproxy.plan.nftables.transaction import Transaction

log = logging.getLogger(__name__)

LINK: Final = "kproxy-dns"
LOOPBACK: Final = "lo"
LEAD_S: Final = 2.0
"""How often it is seen whether queries are answered; the kernel waits for 5 s."""
LEAD_AGAIN_S: Final = 0.2


class LocalAddresses:
    """The addresses and the table. `serving` tells whether queries are led to us at present."""

    def __init__(self, addresses: Sequence[BindAddress]) -> None:
        self.addresses = tuple(addresses)
        self.serving = False
        self._families = sorted({_family(address) for address in addresses})
        self._link = ""

    def make(self) -> list[str]:
        """Make the link and the addresses, and return those that were not there. Raises `KernelError`."""
        with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
            if self._link != LOOPBACK:
                self._link = _make_link(netlink)
            index = _index(netlink, self._link)
            hosts = [address.host for address in self.addresses]
            return [host for host in hosts if _done(netlink, route.add_address(index, host), errno.EEXIST)]

    def serve(self) -> None:
        """Lead queries to us for the next seconds: to be called again before they are over. Raises `KernelError`."""
        for family in self._families:
            pairs = [(one.host, one.port) for one in self.addresses if _family(one) is family]
            _commit(untracked.serve(family, pairs))
        if not self.serving:
            log.info("queries for %s are answered here", ", ".join(address.host for address in self.addresses))
        self.serving = True

    def withdraw(self, why: str) -> None:
        """Lead queries to us no more: what is left to answer them are the ordinary rules. Never raises."""
        if not self.serving:
            return
        self.serving = False
        log.warning("queries for %s are left to others: %s", ", ".join(one.host for one in self.addresses), why)
        for family in self._families:
            try:
                _commit(untracked.withdraw(family))
            except KernelError as error:
                log.warning("%s; the kernel forgets by itself in %g s", error, untracked.TIMEOUT_MS / 1000)

    async def lead(self, domain: str, not_ready: Callable[[], str], told: Callable[[bool], None]) -> None:
        """Lead queries to us for as long as they are answered; never ends. `told` hears each time which it is.

        Others may take the addresses or the table away: they are put back. Raises `KernelError` if they never could be.
        """
        led = False
        while True:
            try:
                if gone := self.make():
                    log.warning("somebody took %s away: made again", ", ".join(gone))
                why = not_ready() or await what_is_wrong(self.addresses, domain)
                if not why:
                    self.serve()
                    led = True
            except KernelError as error:
                if not led:
                    raise
                why = str(error)
            if why:
                self.withdraw(why)
            told(self.serving)
            await asyncio.sleep(LEAD_S if self.serving else LEAD_AGAIN_S)

    def remove(self, addresses: Sequence[BindAddress]) -> None:
        """Remove these addresses, whoever made them; if they are all, also the table and the link.

        What is not there any more is no error.
        """
        self.serving = False
        whole = len(addresses) == len(self.addresses)
        try:
            for family in self._families if whole else ():
                _commit(untracked.remove(family))
            with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
                if whole and self._link == LINK:
                    _remove_link(netlink)
                    return
                index = _index(netlink, self._link)
                for address in addresses:
                    _done(netlink, route.delete_address(index, address.host), errno.EADDRNOTAVAIL)
        except KernelError as error:
            log.warning("the addresses of DNS were not removed: %s", error)


def remove_leftovers() -> list[str]:
    """Remove the link, if it is there; return its name in a list. Raises `KernelError`."""
    with NetlinkSocket(route.NETLINK_ROUTE) as netlink:
        return [f"link {LINK}"] if _remove_link(netlink) else []


def _make_link(netlink: NetlinkSocket) -> str:
    """Return the name of the link that is to have the addresses."""
    try:
        _done(netlink, route.add_dummy(LINK), errno.EEXIST)
    except NetlinkRefused as refused:
        if refused.code != errno.EOPNOTSUPP:
            raise
        log.info("this kernel has no dummy links: the addresses of DNS are added to %s", LOOPBACK)
        return LOOPBACK
    return LINK


def _remove_link(netlink: NetlinkSocket) -> bool:
    try:
        index = _index(netlink, LINK)
    except NetlinkRefused as refused:
        if refused.code == errno.ENODEV:
            return False
        raise
    return _done(netlink, route.delete_link(index, LINK), errno.ENODEV)


def _index(netlink: NetlinkSocket, link: str) -> int:
    return route.read_link(netlink.request(route.find_link(link))[0].body)


def _done(netlink: NetlinkSocket, request: object, tolerated: int) -> bool:
    """Make a request; return False when the kernel says that there was nothing to do."""
    for outcome in netlink.batch([request]):  # type: ignore[list-item]
        if outcome is None:
            continue
        if outcome.code == tolerated:
            return False
        raise outcome
    return True


def _commit(transaction: Transaction) -> None:
    try:
        with NetlinkSocket() as netlink:
            commit(netlink, transaction)
    except TransactionRefused as refused:
        code = refused.faults[0].refusal.code
        if code in (errno.EOPNOTSUPP, errno.ENOENT) and len(transaction.operations) > 1:
            raise FeatureMissing(
                f"--dns-node-local, --dns-intercept: this kernel's nftables refused: {refused}",
                remedy="they need nf_tables with sets that expire, and connection tracking (Linux 5.4)",
            ) from None
        raise


def _family(address: BindAddress) -> Family:
    return Family.IPV6 if ":" in address.host else Family.IPV4
