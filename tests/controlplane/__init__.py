"""A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager in a namespace of the lab.

    with Cluster(plan_with_control_plane()) as cluster, ControlPlane.of(cluster) as control:
        control.install_rbac()
        kubeconfig = control.kubeconfig("kproxy", token=control.service_account_token())
        core = client.CoreV1Api(control.typed())
        with control.faults() as faults:
            faults.stall()

The API server authorizes by RBAC and stores everything in a real etcd. It is on the underlay, so nodes and pods reach
it. Nothing listens in the host's own namespace.
"""

from __future__ import annotations

from tests.controlplane.bulk import create_services
from tests.controlplane.control_plane import ControlPlane, plan_with_control_plane
from tests.controlplane.faults import FaultProxy
from tests.controlplane.https import Api, Reply

__all__ = ["Api", "ControlPlane", "FaultProxy", "Reply", "create_services", "plan_with_control_plane"]
