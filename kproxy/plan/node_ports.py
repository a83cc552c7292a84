"""On which addresses of the node node ports are served: the --nodeport-addresses flag.

Behaviour: kube-proxy's, with the keywords of 1.37 (`localhost`, `all`) and any mix of keywords and CIDRs.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec

from kproxy.errors import ConfigError
from kproxy.state.addresses import FAMILIES, Family, cidr_contains, parse_cidr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FLAG = "--nodeport-addresses"
PRIMARY = "primary"
_KEYWORDS = {"localhost": ("127.0.0.0/8", "::1/128"), "all": ("0.0.0.0/0", "::/0")}
_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


class NodePortAddresses(msgspec.Struct, frozen=True):
    """The parsed flag. `cidrs` are canonical, per family, never empty.

    `warnings` are for the log at start, where that family is in use.
    """

    cidrs: dict[Family, tuple[str, ...]]
    warnings: dict[Family, str]

    def matches_all(self, family: Family) -> bool:
        """Every local address of the family serves node ports: a CIDR of length zero is listed, or none at all."""
        return any(cidr.endswith("/0") for cidr in self.cidrs[family])

    def matching(self, family: Family, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return those of the node's `addresses` (canonical, of the family) that serve node ports, order kept.

        Loopback addresses are returned like others: whether they can be served depends on the mode.
        """
        if self.matches_all(family):
            return tuple(addresses)
        cidrs = self.cidrs[family]
        return tuple(address for address in addresses if any(cidr_contains(cidr, address) for cidr in cidrs))

    @property
    def contains_ipv4_loopback(self) -> bool:
        """Some address in 127.0.0.0/8 matches (the zero CIDR, which is the default, holds them all)."""
        return any(_LOOPBACK.overlaps(ipaddress.IPv4Network(cidr)) for cidr in self.cidrs[Family.IPV4])


def parse_node_port_addresses(values: Sequence[str], node_ips: Mapping[Family, str]) -> NodePortAddresses:
    """Parse the values of the flag: CIDRs and the keywords `primary`, `localhost`, `all`, in any mix.

    `primary` stands for `node_ips` (canonical), loopback ones left out. No values at all: every address. (In nftables
    mode kube-proxy's default is `primary`; the configuration fills that in.) A list without a CIDR of a family means
    every address of that family, with a warning. Raises `ConfigError` naming the value.
    """
    found: dict[Family, dict[str, None]] = {family: {} for family in FAMILIES}
    for value in values:
        for family, cidr in _expand(value.strip(), node_ips):
            found[family][cidr] = None
    warnings = {
        family: f"{FLAG} {','.join(values)} has no {family} address: node ports are served on every {family} address"
        for family in FAMILIES
        if values and not found[family]
    }
    zero = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
    return NodePortAddresses({family: tuple(found[family]) or (zero[family],) for family in FAMILIES}, warnings)


def _expand(value: str, node_ips: Mapping[Family, str]) -> list[tuple[Family, str]]:
    if value == PRIMARY:
        return [
            (family, f"{ip}/{family.bits}")
            for family, ip in node_ips.items()
            if not ipaddress.ip_address(ip).is_loopback
        ]
    try:
        # Python takes netmasks ("10.0.0.0/255.0.0.0") and link names, Go and so kube-proxy do not.
        if value not in _KEYWORDS and not (value.rpartition("/")[2].isdecimal() and "%" not in value):
            raise ValueError(value)
        return [parse_cidr(cidr) for cidr in _KEYWORDS.get(value, (value,))]
    except ValueError:
        remedy = "give CIDRs (192.168.0.0/16), primary, localhost or all, separated by commas"
        raise ConfigError(FLAG, f"{value!r} is neither a CIDR nor a keyword", remedy=remedy) from None
