"""What can go wrong between kproxy and the kernel over netlink.

The tree, below `kproxy.errors.KernelError`::

    KernelError
    ├── MalformedMessage    the bytes received are not what the protocol allows
    ├── DumpInterrupted     the kernel's table changed while it was read: the list may be incomplete
    └── NetlinkRefused      the kernel answered with an errno
        └── NetlinkForbidden    EPERM or EACCES: also a PermissionMissing
"""

from __future__ import annotations

import errno

from kproxy.errors import KernelError, PermissionMissing

# What the common codes mean for a netlink request; strerror's words are about files ("No such file or directory").
_WORDS = {
    errno.EACCES: "not permitted",
    errno.EBADF: "the socket is closed",
    errno.EBUSY: "in use",
    errno.EEXIST: "exists already",
    errno.EINVAL: "the kernel finds the request invalid",
    errno.EMSGSIZE: "too long for one send",
    errno.ENOBUFS: "the kernel's answer was lost",
    errno.ENODEV: "no such link",
    errno.ENOENT: "there is no such object",
    errno.ENOMEM: "no memory",
    errno.ENOSPC: "no room",
    errno.EOPNOTSUPP: "this kernel can't do that",
    errno.EPERM: "not permitted",
    errno.ESRCH: "there is no such object",
}


class MalformedMessage(KernelError):
    """Bytes that are not a netlink message of the expected form. The only error the codecs raise on what they read."""


class DumpInterrupted(KernelError):
    """A dump is complete as a message stream, but may lack entries (NLM_F_DUMP_INTR)."""


class NetlinkRefused(KernelError):
    """The kernel refused one request.

    `operation` says what was asked for ("delete conntrack entry 10.0.0.1:53"), `code` is the positive errno,
    `detail` the kernel's own explanation where it gave one (NETLINK_EXT_ACK), else "".
    """

    def __init__(self, operation: str, code: int, detail: str = "", *, remedy: str = "") -> None:
        self.operation = operation
        self.code = code
        self.detail = detail
        name = errno.errorcode.get(code, f"errno {code}")
        text = f"{operation}: {_WORDS[code]} ({name})" if code in _WORDS else f"{operation}: {name}"
        super().__init__(f"{text}: {detail}" if detail else text, remedy=remedy)


class NetlinkForbidden(NetlinkRefused, PermissionMissing):
    """The kernel refused one request for want of a capability."""


def refusal(operation: str, code: int, detail: str = "") -> NetlinkRefused:
    """Return the exception for a kernel answer with errno `code` (positive)."""
    if code in (errno.EPERM, errno.EACCES):
        return NetlinkForbidden(operation, code, detail, remedy="run as root, or with the capability CAP_NET_ADMIN")
    return NetlinkRefused(operation, code, detail)
