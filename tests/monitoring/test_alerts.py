"""Alert rules and dashboards: what the real promtool says of them, and whether their metrics exist."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from kproxy.dns.feed import Counted, Counts, Sample
from kproxy.dns.server.metrics import DnsMetrics
from kproxy.dns.tally import DURATION_BUCKETS
from kproxy.kube.client import Exchange
from kproxy.metrics.registry import Metrics
from tests.monitoring.operator_rule import ALERTS, OBJECT, ROOT, prometheus_rule
from tests.peers import peer, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DASHBOARDS = [ROOT / "deploy" / "monitoring" / f"grafana-dashboard{which}.json" for which in ("", "-dns")]


def promtool(*arguments: str | Path) -> str:
    require("promtool")
    done = subprocess.run([peer("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dashboard_expressions() -> Iterator[str]:
    for dashboard in DASHBOARDS:
        for panel in json.loads(dashboard.read_text())["panels"]:
            for target in panel["targets"]:
                yield target["expr"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_the_alerts_go_off_when_they_should() -> None:
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", ALERTS.with_name("tests.yaml"))


def test_every_alert_is_tested_and_explained() -> None:
    tested = yaml.safe_load(ALERTS.with_name("tests.yaml").read_text())["tests"]
    names = {one["alertname"] for test in tested for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert names == {rule["alert"] for rule in alerts()}


def test_the_dashboards_expressions_are_prometheus_s(tmp_path: Path) -> None:
    records = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(dashboard_expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}).replace("$instance", "a"))
    assert f"{len(records)} rules found" in promtool("check", "rules", file)


def test_they_are_about_metrics_that_exist() -> None:
    metrics = Metrics()
    metrics.family("IPv4")
    metrics.observe_api_request(Exchange("GET", "api:6443", 200, 0.1))
    dns = DnsMetrics(node_local=True)
    reply = Counted("dns://127.0.0.1:53", "udp", 1, 1, 0, 40, 60, False, "kubernetes", 1)
    hits = [0] * (len(DURATION_BUCKETS) + 1)
    durations = [
        Sample("request", ("dns://127.0.0.1:53",), hits, 0),
        Sample("forward", ("192.0.2.53:53", "0"), hits, 0),
    ]
    dns.add(Counts([reply], durations, {}, {}), worker=0)
    dns.programming.labels("headless_with_selector").observe(0.1)
    exported = {
        sample.name
        for text in (metrics.exposition(), dns.exposition())
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alerts())]
    for expression in expressions:
        used = set(re.findall(r"\b(?:coredns|kproxy|kubeproxy|process|rest)_\w+", expression))
        assert used <= exported, expression


def test_the_operator_s_object_is_up_to_date() -> None:
    assert OBJECT.read_text() == prometheus_rule(), "run `make rules`"
