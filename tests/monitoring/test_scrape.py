"""A real Prometheus scrapes the agent, and evaluates the alert rules over what it gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import yaml

from tests.agent.one_node import one_node, web
from tests.lab.agent import eventually
from tests.lab.httpget import get
from tests.monitoring.operator_rule import ALERTS
from tests.peers import peer, require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab import Namespace

pytestmark = pytest.mark.root
PORT = 9090


def ask(namespace: Namespace, path: str) -> Any:
    """The data of an answer of Prometheus' API; None while it does not answer."""
    try:
        return json.loads(get(namespace, "127.0.0.1", PORT, path).body).get("data")
    except (OSError, ValueError):
        return None


def query(namespace: Namespace, expression: str) -> list[tuple[dict[str, str], str]]:
    data = ask(namespace, f"/api/v1/query?query={quote(expression)}") or {"result": []}
    return [(one["metric"], one["value"][1]) for one in data["result"]]


def test_prometheus_takes_what_the_agent_exports(tmp_path: Path) -> None:
    require("prometheus")
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "kproxy", "static_configs": [{"targets": ["127.0.0.1:10249"]}]}],
    }
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [
        *(str(peer("prometheus")), f"--config.file={tmp_path / 'prometheus.yaml'}", "--log.level=warn"),
        *(f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{PORT}"),
    ]
    with one_node() as node:
        node.manifests.write("web", web())
        with node.agent() as agent, node.namespace.popen(command) as prometheus:
            try:
                agent.wait_ready()
                up = "sum(up{job='kproxy'})"
                eventually(lambda: query(node.namespace, up) == [({}, "1")], "Prometheus scrapes the agent", 30)
                synced = "min by (ip_family) (kubeproxy_sync_full_proxy_rules_duration_seconds_count)"
                families = [(labels["ip_family"], value) for labels, value in query(node.namespace, synced)]
                assert sorted(families) == [("IPv4", "1"), ("IPv6", "1")]
                eventually(lambda: evaluated(node.namespace), "every alert has been evaluated", 30)
                assert query(node.namespace, "ALERTS{alertstate='firing'}") == []
            finally:
                prometheus.terminate()


def evaluated(namespace: Namespace) -> bool:
    """Every rule was evaluated without an error."""
    groups = (ask(namespace, "/api/v1/rules") or {"groups": []})["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    return bool(rules) and all(rule["health"] == "ok" for rule in rules)
