"""Starts the iptables mode: finds the tools, tries what the rules need, sets what the kernel must have."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kproxy.dataplane import sysctls
from kproxy.dataplane.iptables.binaries import detect_variant, find_binaries
from kproxy.dataplane.iptables.probe import probe
from kproxy.dataplane.iptables.proxier import IptablesProxier
from kproxy.dataplane.iptables.ruleset_for import serves_localhost
from kproxy.dataplane.iptables.tool import IptablesTool
from kproxy.errors import FeatureMissing
from kproxy.plan.sysctls import wanted_sysctls
from kproxy.state.addresses import FAMILIES, Family

if TYPE_CHECKING:
    from kproxy.config import Config

log = logging.getLogger(__name__)

BE_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"


def start_iptables(config: Config) -> list[IptablesProxier]:
    """Return a proxier for each usable family, IPv4 first. No rule of a Service has been written yet.

    Raises `FeatureMissing`, `PermissionMissing` or `LockHeld`, each in one line.
    """
    variant = detect_variant(config.iptables_variant)
    tools = [tool for family in FAMILIES if (tool := _tool(family, variant)) is not None]
    if not tools:
        raise FeatureMissing(f"iptables-{variant}-restore is not installed", remedy="install the package iptables")
    unsupported: dict[Family, dict[str, str]] = {}
    for tool in list(tools):
        try:
            unsupported[tool.family] = probe(tool)
        except FeatureMissing as error:
            if len(tools) == 1 or tool.family is Family.IPV4:
                raise
            log.warning("IPv4 only: %s", error)
            tools.remove(tool)
    set_sysctls(config)
    drop_invalid = not sysctls.read(BE_LIBERAL)
    families = " and ".join(tool.family for tool in tools)
    log.info("iptables mode with the %s variant, for %s", variant, families)
    return [
        IptablesProxier(config, tool, drop_invalid=drop_invalid, unsupported=unsupported[tool.family]) for tool in tools
    ]


def set_sysctls(config: Config) -> None:
    """Make the kernel settings that the flags ask for, where they differ. Raises `KernelError` naming the flag."""
    wanted = wanted_sysctls(
        config.conntrack,
        cpus=sysctls.count_cpus(),
        mode="iptables",
        localhost_node_ports=config.localhost_node_ports,
        node_ports_on_loopback=serves_localhost(config),
    )
    for sysctl in sysctls.apply(wanted):
        log.info("set %s to %d (%s)", sysctl.name.replace("/", "."), sysctl.value, sysctl.flag)


def _tool(family: Family, variant: str) -> IptablesTool | None:
    if family is Family.IPV6 and not Path("/proc/net/if_inet6").exists():
        log.info("the kernel has no IPv6: IPv4 only")
        return None
    binaries = find_binaries(family, variant)
    return IptablesTool(binaries) if binaries else None
