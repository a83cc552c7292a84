"""Starts the nftables mode: finds the families, sets what the kernel must have."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.dataplane import sysctls
from kproxy.dataplane.nftables.proxier import NftablesProxier
from kproxy.plan.sysctls import wanted_sysctls
from kproxy.state.addresses import Family

if TYPE_CHECKING:
    from kproxy.config import Config

log = logging.getLogger(__name__)


def start_nftables(config: Config) -> list[NftablesProxier]:
    """Return a proxier for each usable family, IPv4 first. No rule of a Service has been written yet.

    Raises `FeatureMissing` or `PermissionMissing`, each in one line.
    """
    families = [Family.IPV4]
    if Path("/proc/net/if_inet6").exists():
        families.append(Family.IPV6)
    else:
        log.info("the kernel has no IPv6: IPv4 only")
    set_sysctls(config)
    log.info("nftables mode, for %s", " and ".join(families))
    return [NftablesProxier(config, family) for family in families]


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
