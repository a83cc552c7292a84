"""The alert rules as the Prometheus operator takes them: an object around those of rules/prometheus/kproxy.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "rules" / "prometheus" / "kproxy.yaml"
OBJECT = ROOT / "deploy" / "monitoring" / "prometheusrule.yaml"


def prometheus_rule() -> str:
    """The text of deploy/monitoring/prometheusrule.yaml."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "kproxy", "labels": {"app.kubernetes.io/name": "kproxy"}},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }
    header = "# Written by `make rules` from rules/prometheus/kproxy.yaml.\n"
    return header + yaml.safe_dump(document, sort_keys=False, width=120)
