"""`python -m tests.monitoring` writes deploy/monitoring/prometheusrule.yaml again."""

from __future__ import annotations

from tests.monitoring.operator_rule import OBJECT, prometheus_rule

if __name__ == "__main__":
    OBJECT.write_text(prometheus_rule())
    print(OBJECT.name)
