"""The addresses of this node, listed again only after the kernel said that some of them changed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from kproxy.dataplane.addresses import VIP_LINK, link_indexes, local_addresses
from kproxy.errors import KernelError
from kproxy.netlink.errors import MalformedMessage
from kproxy.netlink.message import split_messages
from kproxy.netlink.route import ADDRESS_GROUPS, NETLINK_ROUTE, read_address

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kproxy.state.addresses import Family

_DATAGRAM = 1 << 16


class AddressWatch:
    """Listens in the network namespace of the thread that makes it.

    `fileno()` becomes readable when something changed, for an event loop; `stale()` takes that up. The addresses of
    the links named in `except_links` are left out, and their changes are no news.
    Raises `KernelError` when there is no such socket.
    """

    def __init__(self, except_links: Collection[str] = (VIP_LINK,)) -> None:
        self._except_links = except_links
        self._stale = True
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_ROUTE
            )
            self._socket.bind((0, ADDRESS_GROUPS))
        except OSError as error:
            raise KernelError(f"watch the addresses of this node: {error.strerror}") from None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def stale(self) -> bool:
        """Tell whether an address changed since it was read, or may have. Does not block."""
        passed_over: set[int] | None = None
        try:
            while True:
                datagram, sender = self._socket.recvfrom(_DATAGRAM)
                if passed_over is None:
                    passed_over = link_indexes(self._except_links)
                if sender[0] == 0 and _is_news(datagram, passed_over):  # else from another process, not from the kernel
                    self._stale = True
        except BlockingIOError:
            pass
        except (OSError, KernelError):
            self._stale = True  # ENOBUFS: some of it was lost
        return self._stale

    def read(self) -> Mapping[Family, tuple[str, ...]]:
        """Return the addresses as `local_addresses` does, and no more are they stale.

        What changes meanwhile makes them so again. Raises `KernelError`.
        """
        self._stale = False
        try:
            return local_addresses(except_links=self._except_links)
        except KernelError:
            self._stale = True
            raise


def _is_news(datagram: bytes, passed_over: set[int]) -> bool:
    try:
        told = [read_address(message) for message in split_messages(datagram)]
    except MalformedMessage:
        return True
    return not {address.link for address in told if address} <= passed_over
