"""Starts the nftables mode: finds the families, sets what the kernel must have."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.dataplane import sysctls
from kproxy.dataplane.nftables.probe import probe
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.dataplane.nftables.watch import TableWatch
from kproxy.errors import FeatureMissing
from kproxy.plan.nftables.layout import TABLE
from kproxy.plan.sysctls import wanted_sysctls
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from kproxy.config import Config

log = logging.getLogger(__name__)


def start_nftables(config: Config) -> list[NftablesProxier]:
    """Return a proxier for each usable family, IPv4 first. No rule of a Service has been written yet.

    Raises `FeatureMissing` or `PermissionMissing`, each in one line.
    """
    unsupported = {family: missing for family in FAMILIES if (missing := probe_family(family)) is not None}
    set_sysctls(config)
    log.info("nftables mode, for %s", " and ".join(unsupported))
    watch = TableWatch(TABLE)
    return [
        NftablesProxier(config, family, watch=watch, unsupported=missing) for family, missing in unsupported.items()
    ]


def probe_family(family: Family) -> dict[str, str] | None:
    """Return what the kernel lacks but can be done without; None when there is no IPv6, or too little for it."""
    if family is Family.IPV4:
        return probe(family)
    if not Path("/proc/net/if_inet6").exists():
        log.info("the kernel has no IPv6: IPv4 only")
        return None
    try:
        return probe(family)
    except FeatureMissing as error:
        log.warning("IPv4 only: %s", error)
        return None


def set_sysctls(config: Config) -> None:
    """Make the kernel settings that the flags ask for, where they differ. Raises `KernelError` naming the flag."""
    wanted = wanted_sysctls(
        config.conntrack,
        cpus=sysctls.count_cpus(),
        mode="nftables",
        localhost_node_ports=False,
        node_ports_on_loopback=False,
    )
    for sysctl in sysctls.apply(wanted):
        log.info("set %s to %d (%s)", sysctl.name.replace("/", "."), sysctl.value, sysctl.flag)
