"""kproxy explain: what becomes of a connection on this node, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kproxy.cli.flags import PROXY_FLAGS, SETTINGS, UNUSED, config_option, flag_options, verbosity_option
from kproxy.cli.settings import gather
from kproxy.cli.snapshot import snapshot
from kproxy.config import build_config
from kproxy.dataplane.iptables.ruleset_for import serves_localhost
from kproxy.errors import ConfigError
from kproxy.plan.explain import Question, Surroundings, explain, frontends
from kproxy.plan.family import FamilyPlan
from kproxy.plan.local_traffic import local_traffic
from kproxy.plan.node_ports import parse_node_port_addresses
from kproxy.state.addresses import FAMILIES, Family, parse_ip, with_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kproxy.config import Config
    from kproxy.plan.explain import Explanation
    from kproxy.plan.intent import PortIntent
    from kproxy.state.cluster import ClusterState

OUTSIDE = {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}
"""Addresses of documentation: of no pod and no node."""


@click.command(name="explain")
@click.argument("source")
@click.argument("target")
@flag_options(PROXY_FLAGS, SETTINGS)
@verbosity_option
@config_option
@click.option("--protocol", type=click.Choice(["TCP", "UDP", "SCTP"], case_sensitive=False), default="TCP")
@click.option("--interface", default="", help="Where it comes in, for the detect-local modes that go by it.")
@flag_options(UNUSED)
@click.pass_context
def explain_verb(
    context: click.Context, /, source: str, target: str, protocol: str, interface: str, **values: Any
) -> None:
    """Say what becomes of a new connection on this node, step by step and why; needs no privileges, changes nothing.

    SOURCE is an IP address, `node` (a process of the node itself) or `outside`. TARGET is IP:PORT, or a Service as
    NAMESPACE/NAME or NAMESPACE/NAME:PORT: then every way to address it is explained. It reads the manifests, or the
    API, as `run` with the same flags would.
    """
    merged, _ = gather(context, values)
    config = build_config(merged.values, merged.origins)
    state, _ = snapshot(config)
    told = False
    for family in FAMILIES:
        plan = FamilyPlan(family)
        plan.update(state, state.services)
        intents = [intent for key in sorted(plan.intents) for intent in plan.intents[key]]
        around = _surroundings(config, state, family)
        sender = _sender(source, family, around.node_ip)
        for question in _questions(target, family, sender, protocol.upper(), interface, intents, around.node_ip):
            click.echo("\n" * told + "\n".join(_lines(question, explain(question, intents, around))))
            told = True
    if not told:
        why = state.handed_to_dns().get(target.partition(":")[0])
        raise ConfigError(
            "TARGET",
            f"{target}: {f'no rules, it is for DNS ({why})' if why else 'no such Service, port or family here'}",
            remedy="give IP:PORT or NAMESPACE/NAME, and a SOURCE of the same family",
        )


def _surroundings(config: Config, state: ClusterState, family: Family) -> Surroundings:
    node_ports = parse_node_port_addresses(config.node_port_addresses, state.node.ips)
    iptables = config.proxy_mode == "iptables"
    own = (state.node.ips[family],)
    return Surroundings(
        local=local_traffic(config.local, state.node, family),
        masquerade_all=config.masquerade_all,
        node_ip=state.node.ips[family],
        addresses=own,
        node_port_ips=None if node_ports.matches_all(family) else node_ports.matching(family, own),
        localhost_node_ports=iptables and serves_localhost(config),
        iptables=iptables,
        service_cidrs=state.service_cidrs[family],
    )


def _sender(source: str, family: Family, node_ip: str) -> str:
    """Return the address; "" when it is of the other family."""
    named = {"node": node_ip, "outside": OUTSIDE[family]}
    if source in named:
        return named[source]
    try:
        found, address = parse_ip(source)
    except ValueError:
        raise ConfigError("SOURCE", f"{source!r} is unknown", remedy="give an IP address, node or outside") from None
    return address if found is family else ""


def _questions(
    target: str,
    family: Family,
    sender: str,
    protocol: str,
    interface: str,
    intents: list[PortIntent],
    node_ip: str,
) -> Iterator[Question]:
    if not sender:
        return
    if "/" not in target:
        host, _, port = target.rpartition(":")
        try:
            found, address = parse_ip(host.strip("[]"))
            number = int(port)
            if not 1 <= number <= 65535:
                raise ValueError
        except ValueError:
            remedy = "give IP:PORT, [IP]:PORT, NAMESPACE/NAME or NAMESPACE/NAME:PORT"
            raise ConfigError("TARGET", f"{target!r} is none", remedy=remedy) from None
        if found is family:
            yield Question(protocol, sender, address, number, interface)
        return
    name, _, port = target.partition(":")
    for intent in intents:
        service = intent.port.name
        if f"{service.namespace}/{service.service}" == name and port in ("", service.port, str(intent.port.port)):
            for frontend in frontends(intent):
                yield Question(service.protocol, sender, frontend.ip or node_ip, frontend.port, interface)


def _lines(question: Question, told: Explanation) -> Iterator[str]:
    yield f"{question.source} -> {with_port(question.destination, question.port)} {question.protocol}"
    for step in told.steps:
        yield f"  {step}"
    if told.endpoints:
        share = "" if len(told.endpoints) == 1 else f", each with a chance of 1 in {len(told.endpoints)}"
        yield f"  it goes to{share}"
        for endpoint in told.endpoints:
            yield f"    {endpoint.address}{' on this node' if endpoint.local else ''}"
    if told.intent is not None:
        for endpoint, why in told.intent.passed_over().values():
            yield f"  {endpoint.address} is passed over: {why}"
