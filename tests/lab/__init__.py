"""A small cluster of network namespaces with real servers, for the tests, the demo and the benchmarks.

It knows nothing of pytest, of a proxy mode or of anybody's rules: it makes hosts, starts servers that say who they
are and whom they saw, opens connections from any host, and starts a program under test on a node.

    with Cluster() as cluster:
        cluster.manifests.write("web", [service(...), endpoint_slice(...)])
        with cluster.agent("--cluster-cidr", POD_CIDRS) as agent:
            agent.wait_ready()
            report = cluster.probe(Probe("client", "10.97.0.1", 80, "tcp", count=20))
"""

from __future__ import annotations

from tests.lab.addresses import (
    CLUSTER_IPS,
    EXTERNAL_IPS,
    FAMILIES,
    LOAD_BALANCER_IPS,
    POD_CIDRS,
    Family,
    Host,
    Plan,
    numbered,
    small_cluster,
)
from tests.lab.agent import Agent
from tests.lab.cluster import Cluster
from tests.lab.held import Held
from tests.lab.namespace import Namespace
from tests.lab.probe import Answer, Outcome, Probe, Report
from tests.lab.run import Run, scaled, sweep

__all__ = [
    "CLUSTER_IPS",
    "EXTERNAL_IPS",
    "FAMILIES",
    "LOAD_BALANCER_IPS",
    "POD_CIDRS",
    "Agent",
    "Answer",
    "Cluster",
    "Family",
    "Held",
    "Host",
    "Namespace",
    "Outcome",
    "Plan",
    "Probe",
    "Report",
    "Run",
    "numbered",
    "scaled",
    "small_cluster",
    "sweep",
]
