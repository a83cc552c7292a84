"""Starts the IPVS mode: tries what it needs, sets what the kernel must have."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from kproxy.dataplane import sysctls
from kproxy.dataplane.ipvs.kernel import IpvsKernel, find_ipvs
from kproxy.dataplane.ipvs.probe import probe
from kproxy.dataplane.ipvs.proxier import IpvsProxier
from kproxy.dataplane.nftables.start import probe_family as probe_filter
from kproxy.dataplane.nftables.watch import TableWatch
from kproxy.netlink.genetlink import NETLINK_GENERIC
from kproxy.netlink.ipvs import IpvsRequests, Timeouts
from kproxy.netlink.socket import NetlinkSocket, raise_refusals
from kproxy.plan.ipvs.filter import TABLE
from kproxy.plan.sysctls import wanted_sysctls
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from kproxy.config import Config

log = logging.getLogger(__name__)

# Linux 4.1 came with the setting, 5.9 without the need for it: there, 0 would do harm.
_REUSE_SINCE, _REUSE_UNTIL = (4, 1), (5, 9)


def start_ipvs(config: Config) -> list[IpvsProxier]:
    """Return a proxier for each usable family, IPv4 first. Nothing of a Service has been written yet.

    Raises `FeatureMissing` or `PermissionMissing`, each in one line.
    """
    probed = probe(config.ipvs.scheduler)
    wanted = FAMILIES if probed.ipv6 else (Family.IPV4,)
    families = {family: missing for family in wanted if (missing := probe_filter(family)) is not None}
    if not probed.ipv6:
        log.info("IPVS of this kernel has no IPv6: IPv4 only")
    set_sysctls(config)
    _set_timeouts(config, probed.message_type)
    log.info("IPVS mode with the scheduler %s, for %s", config.ipvs.scheduler, " and ".join(families))
    watch = TableWatch(TABLE)
    return [
        IpvsProxier(
            config, IpvsKernel(family, probed.message_type), watch=watch, unsupported=missing | probed.unsupported
        )
        for family, missing in families.items()
    ]


def set_sysctls(config: Config) -> None:
    """Make the kernel settings that the flags ask for, where they differ. Raises `KernelError` naming the flag."""
    find_ipvs()  # which has the kernel load it; before that its settings are not there
    wanted = wanted_sysctls(
        config.conntrack,
        cpus=sysctls.count_cpus(),
        mode="ipvs",
        strict_arp=config.ipvs.strict_arp,
        conn_reuse_mode=needs_conn_reuse_mode(os.uname().release),
    )
    for sysctl in sysctls.apply(wanted):
        log.info("set %s to %d (%s)", sysctl.name.replace("/", "."), sysctl.value, sysctl.flag)


def needs_conn_reuse_mode(release: str) -> bool:
    """Tell whether a kernel ("5.4.0-88-generic") delays a connection from a reused port unless told not to."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return match is not None and _REUSE_SINCE <= (int(match[1]), int(match[2])) < _REUSE_UNTIL


def _set_timeouts(config: Config, message_type: int) -> None:
    """Set the time-outs of idle connections; 0 keeps the kernel's."""
    timeouts = Timeouts(config.ipvs.tcp_timeout_s, config.ipvs.tcp_fin_timeout_s, config.ipvs.udp_timeout_s)
    if timeouts == Timeouts():
        return
    with NetlinkSocket(NETLINK_GENERIC) as netlink:
        raise_refusals(netlink.batch([IpvsRequests(message_type).set_timeouts(timeouts)]))
