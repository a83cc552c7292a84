"""Finds out, before anything of a Service is written, whether kernel and tools have all that the rules need.

Each feature is tried with a real rule, in a chain that nothing jumps to. All are tried in one go; only when that
fails are they tried one by one, to name the one that is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kproxy.errors import FeatureMissing, KernelError, LockHeld, PermissionMissing
from kproxy.plan.iptables.names import PROBE_CHAIN
from kproxy.plan.iptables.restore import Restore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kproxy.dataplane.iptables.tool import IptablesTool


class Feature(NamedTuple):
    """A rule to try, the kernel module it needs, and what goes without rules if it is missing (`only_for`)."""

    name: str
    module: str
    table: str
    rule: str
    only_for: str = ""


FEATURES = (
    Feature("match comment", "xt_comment", "nat", '-m comment --comment "probe"'),
    Feature("match conntrack", "xt_conntrack", "filter", "-m conntrack --ctstate NEW,INVALID,RELATED,ESTABLISHED,DNAT"),
    Feature("match addrtype", "xt_addrtype", "nat", "-m addrtype --dst-type LOCAL"),
    Feature("match mark", "xt_mark", "filter", "-m mark --mark 0x1/0x1"),
    Feature("match statistic", "xt_statistic", "nat", "-m statistic --mode random --probability 0.5000000000"),
    Feature("match tcp", "xt_tcpudp", "nat", "-m tcp -p tcp --dport 1"),
    Feature("match udp", "xt_tcpudp", "nat", "-m udp -p udp --dport 1"),
    Feature("target MARK", "xt_mark", "nat", "-j MARK --xor-mark 0x1"),
    Feature("target MASQUERADE", "xt_MASQUERADE", "nat", "-j MASQUERADE --random-fully"),
    Feature("target DNAT", "xt_nat", "nat", "-p tcp -j DNAT --to-destination @ADDRESS@"),
    Feature("target REJECT", "@REJECT@", "filter", "-p tcp -j REJECT --reject-with tcp-reset"),
    Feature("match sctp", "xt_sctp", "nat", "-m sctp -p sctp --dport 1", "SCTP"),
    Feature("match recent", "xt_recent", "nat", f"-m recent --name {PROBE_CHAIN} --set", "session affinity"),
)


def probe(tool: IptablesTool) -> dict[str, str]:
    """Try everything; return what is missing but can be done without: only_for -> the reason.

    Raises `FeatureMissing` naming what kproxy needs, `PermissionMissing`, or `LockHeld`.
    """
    if _works(tool, FEATURES) is None:
        return {}
    missing: dict[str, str] = {}
    for feature in FEATURES:
        error = _works(tool, [feature])
        if error is None:
            continue
        what = f"{tool.family} iptables ({tool.variant}) has no {feature.name}"
        if not feature.only_for:
            raise FeatureMissing(f"{what}: {error.what}", remedy=f"load the kernel module {_module(feature, tool)}")
        missing[feature.only_for] = what
    return missing


def _module(feature: Feature, tool: IptablesTool) -> str:
    return feature.module.replace("@REJECT@", "ipt_REJECT" if tool.family == "IPv4" else "ip6t_REJECT")


def _works(tool: IptablesTool, features: Sequence[Feature]) -> KernelError | None:
    address = "127.0.0.1:1" if tool.family == "IPv4" else "[::1]:1"
    lines: list[str] = []
    undo: list[str] = []
    for table in sorted({feature.table for feature in features}):
        rules = [f"-A {PROBE_CHAIN} {feature.rule}" for feature in features if feature.table == table]
        lines += [f"*{table}", f":{PROBE_CHAIN} - [0:0]", *rules, "COMMIT"]
        undo += [f"*{table}", f":{PROBE_CHAIN} - [0:0]", f"-X {PROBE_CHAIN}", "COMMIT"]
    try:
        tool.restore(Restore(tuple(line.replace("@ADDRESS@", address) for line in lines)))
    except (PermissionMissing, LockHeld):
        raise
    except KernelError as error:
        return error
    finally:
        _undo(tool, undo)
    return None


def _undo(tool: IptablesTool, lines: list[str]) -> None:
    try:
        tool.restore(Restore(tuple(lines)))
    except KernelError:
        return  # what could not be written can't be removed either; the probe's own error says why
