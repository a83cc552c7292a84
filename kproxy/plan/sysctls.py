"""Which kernel settings this node needs: plain values in, a list of wanted sysctls out.

Behaviour: kube-proxy 1.37's, in its order. Nothing but conntrack, route_localnet and the IPVS list is set: neither
ip_forward outside IPVS mode nor bridge-nf-call-iptables, as in kube-proxy.
"""

from __future__ import annotations

from typing import Literal

import msgspec

_CONNTRACK_CEILING = 1_048_576
_NETFILTER = "net/netfilter/"


class Sysctl(msgspec.Struct, frozen=True):
    """A wanted setting.

    `name` is the path below /proc/sys. `minimum`: a present value above `value` is right as well. `flag` is what asks
    for it, and `remedy` what to do when it can't be had.
    """

    name: str
    value: int
    flag: str
    remedy: str
    minimum: bool = False

    def satisfied_by(self, present: int) -> bool:
        """Tell whether nothing needs to be written."""
        return present >= self.value if self.minimum else present == self.value


class ConntrackSettings(msgspec.Struct, frozen=True):
    """The --conntrack-* flags, with kube-proxy's defaults. 0 (or False) leaves the kernel's value alone."""

    max_per_core: int = 32768
    min: int = 131072
    tcp_timeout_established_s: int = 86400
    tcp_timeout_close_wait_s: int = 3600
    tcp_be_liberal: bool = False
    udp_timeout_s: int = 0
    udp_timeout_stream_s: int = 0


def conntrack_max(settings: ConntrackSettings, cpus: int) -> int:
    """Return the wanted size of the conntrack table in entries; 0: leave it.

    Scaled by CPUs, but at least `min`. Above 1,048,576 the scaled value is cut to that, and `min` is not looked at
    (kube-proxy since 1.36: with hundreds of CPUs the table took gigabytes).
    """
    if settings.max_per_core <= 0:
        return 0
    scaled = settings.max_per_core * cpus
    return _CONNTRACK_CEILING if scaled > _CONNTRACK_CEILING else max(scaled, settings.min)


def wanted_sysctls(
    conntrack: ConntrackSettings,
    *,
    cpus: int,
    mode: Literal["iptables", "ipvs", "nftables", "userspace"],
    ipv4: bool = True,
    localhost_node_ports: bool = True,
    node_ports_on_loopback: bool = True,
    strict_arp: bool = False,
    conn_reuse_mode: bool = False,
) -> tuple[Sysctl, ...]:
    """Return the settings to make, in order.

    `cpus` is the node's number of CPUs; `ipv4`: IPv4 is served at all; `localhost_node_ports` is
    --iptables-localhost-nodeports, `node_ports_on_loopback` is `NodePortAddresses.contains_ipv4_loopback`. For ipvs:
    `strict_arp` is --ipvs-strict-arp, `conn_reuse_mode` says that the kernel needs that setting cleared (4.1 to 5.8).
    """
    wanted = _conntrack_sysctls(conntrack, cpus)
    if mode == "iptables" and ipv4 and localhost_node_ports and node_ports_on_loopback:
        flag = "--iptables-localhost-nodeports"
        remedy = f"set {flag}=false, or leave loopback out of --nodeport-addresses"
        wanted.append(Sysctl("net/ipv4/conf/all/route_localnet", 1, flag, remedy))
    if mode == "ipvs":
        wanted += _ipvs_sysctls(strict_arp, conn_reuse_mode)
    return tuple(wanted)


def _conntrack_sysctls(settings: ConntrackSettings, cpus: int) -> list[Sysctl]:
    wanted = []
    size = conntrack_max(settings, cpus)
    if size:
        flag = "--conntrack-max-per-core"
        remedy = f"set {flag} 0 to leave it alone"
        wanted.append(Sysctl(f"{_NETFILTER}nf_conntrack_max", size, flag, remedy))
        # The number of hash buckets. kube-proxy writes the same variable by its other name,
        # /sys/module/nf_conntrack/parameters/hashsize, which is often read-only in a container where this is not.
        wanted.append(Sysctl(f"{_NETFILTER}nf_conntrack_buckets", size // 4, flag, remedy, minimum=True))
    for name, value, flag in (
        ("tcp_timeout_established", settings.tcp_timeout_established_s, "tcp-timeout-established"),
        ("tcp_timeout_close_wait", settings.tcp_timeout_close_wait_s, "tcp-timeout-close-wait"),
        ("tcp_be_liberal", int(settings.tcp_be_liberal), "tcp-be-liberal"),
        ("udp_timeout", settings.udp_timeout_s, "udp-timeout"),
        ("udp_timeout_stream", settings.udp_timeout_stream_s, "udp-timeout-stream"),
    ):
        if value > 0:
            flag = f"--conntrack-{flag}"
            off = f"set {flag}=false" if name == "tcp_be_liberal" else f"set {flag} 0"
            wanted.append(Sysctl(f"{_NETFILTER}nf_conntrack_{name}", value, flag, f"{off} to leave it alone"))
    return wanted


def _ipvs_sysctls(strict_arp: bool, conn_reuse_mode: bool) -> list[Sysctl]:
    values = {"net/ipv4/vs/conntrack": 1}
    if conn_reuse_mode:
        values["net/ipv4/vs/conn_reuse_mode"] = 0
    values["net/ipv4/vs/expire_nodest_conn"] = 1
    values["net/ipv4/vs/expire_quiescent_template"] = 1
    values["net/ipv4/ip_forward"] = 1
    wanted = [Sysctl(name, value, "--proxy-mode", "choose another mode") for name, value in values.items()]
    if strict_arp:
        flag = "--ipvs-strict-arp"
        for name, value in (("arp_ignore", 1), ("arp_announce", 2)):
            wanted.append(Sysctl(f"net/ipv4/conf/all/{name}", value, flag, f"set {flag}=false"))
    return wanted
