"""The headless Service got no rule: it is DNS's, and kproxy answers that too."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from examples.demo import looks, manifests, traffic
from examples.demo.lookup import lookup
from examples.demo.tables import HEADLESS_DATABASE, NODE_IPV4
from tests.lab import FAMILIES

if TYPE_CHECKING:
    from rich.table import Table

    from examples.demo.stage import Stage
    from examples.demo.view import View

TO_DNS = "handed to DNS: shop/db (headless)"
BEAT_S = 0.1
DNS_WITHIN_S = 15.0
DOMAIN = "shop.svc.cluster.local"
NAMES = {
    ("db", "A"): ["10.244.1.13", "10.244.2.13"],
    ("db-0.db", "A"): ["10.244.1.13"],
    ("db-1.db", "A"): ["10.244.2.13"],
    ("db-2.db", "A"): ["no such name"],
    ("_postgres._tcp.db", "SRV"): [f"db-{number}.db.{DOMAIN}:5432" for number in range(2)],
}
"""What is asked for (each below `DOMAIN`), and what DNS must say."""
#: The database's own addresses, as a rule would match them or translate to them.
ADDRESSES = tuple(f"{line.address}{end}" for line in HEADLESS_DATABASE for end in "/:")


def play(stage: Stage, view: View) -> None:
    """Count each Service's rules, show what the log says of the headless one, and connect as DNS would tell."""
    view.say("Rules that name a Service or, for the headless database, one of its pods' addresses:")
    counts = rule_counts(stage)
    made = looks.table("Service", "clusterIP", "rules, IPv4", "rules, IPv6", right=["rules, IPv4", "rules, IPv6"])
    for name, (address, *numbers) in counts.items():
        made.add_row(name, address, *(str(number) for number in numbers))
    view.show(made)
    if any(counts["shop/db"][1:]):
        stage.count(0, ["the headless shop/db got rules"])
    said = [line for line in stage.agent.log.read_text().splitlines() if TO_DNS in line]
    view.say("\nkproxy's log:" if said else "\nkproxy's log says nothing of shop/db", "" if said else "bold red")
    view.lines(said, "dim")
    if not said:
        stage.count(0, [f"the log does not say `{TO_DNS}`"])
    view.say("\nkproxy's DNS on node-a names the StatefulSet's pods. What the shopper is told:")
    view.show(answers(stage))
    view.say("\nIt connects to those addresses without any proxy:")
    with view.live(BEAT_S) as show:
        traffic.play(stage, HEADLESS_DATABASE, lambda tallies: show(looks.connections(tallies, "name")))
    view.pause(2.5)


def answers(stage: Stage) -> Table:
    """Ask for each name as a pod does, and return the table of answers; a wrong one is a problem of the demo."""
    shopper = stage.cluster.namespaces["shopper"]

    def asked(name: str, kind: str) -> list[str]:
        return lookup(shopper, NODE_IPV4, f"{name}.{DOMAIN}", kind)

    with contextlib.suppress(TimeoutError):
        stage.interrupt.wait_for(lambda: asked(*next(iter(NAMES))) != ["no answer"], "DNS answers", DNS_WITHIN_S)
    made = looks.table("name", "type", "answer", "")
    for (name, kind), expected in NAMES.items():
        found = asked(name, kind)
        made.add_row(name, kind, "\n".join(found), "ok" if found == expected else "wrong")
        stage.count(0, [] if found == expected else [f"DNS says {found} of {name}, not {expected}"])
    return made


def rule_counts(stage: Stage) -> dict[str, tuple[str, int, int]]:
    """Return Service -> (clusterIP, rules that name it in IPv4, in IPv6)."""
    rules = [stage.rules(family) for family in FAMILIES]
    counts = {}
    for document in manifests.documents(stage.cluster.manifests.path):
        if document["kind"] != "Service":
            continue
        name = f"{document['metadata']['namespace']}/{document['metadata']['name']}"
        headless = document["spec"]["clusterIP"] == "None"
        wanted = (f'"{name}:', f'"{name} ', *(ADDRESSES if headless else ()))
        ipv4, ipv6 = (sum(any(text in rule for text in wanted) for rule in each) for each in rules)
        counts[name] = (document["spec"]["clusterIP"], ipv4, ipv6)
    return counts
