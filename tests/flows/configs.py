"""How the program under test is started for each group of rows. Each is one start per variant."""

from __future__ import annotations

from dataclasses import dataclass

from tests.lab.addresses import POD_CIDRS
from tests.lab.topology import pod_interface

#: Conntrack sizes and time-outs cannot be set outside the initial namespace. A short sync period makes repair fast.
ALWAYS = (
    "--conntrack-max-per-core=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
    "--oom-score-adj=0",
    "--healthz-bind-address=0.0.0.0:10256",
    "--metrics-bind-address=127.0.0.1:10249",
)
SYNC_PERIOD_S = 1
CLUSTER_CIDR = f"--cluster-cidr={','.join(POD_CIDRS.values())}"


@dataclass(frozen=True, slots=True)
class Config:
    """`arguments` for the program, and its Node's `zone`. `stuck`: started so that its syncs can be made to fail."""

    name: str
    arguments: tuple[str, ...]
    zone: str = "z1"
    stuck: bool = False


CONFIGS = {
    config.name: config
    for config in (
        Config("default", (CLUSTER_CIDR, "--detect-local-mode=ClusterCIDR")),
        Config("masquerade-all", (CLUSTER_CIDR, "--masquerade-all")),
        Config("no-detector", ()),
        Config("node-cidr", ("--detect-local-mode=NodeCIDR",)),
        # Pods are on routed links here, so the "bridge" is the link of the one pod that asks.
        Config("bridge", ("--detect-local-mode=BridgeInterface", f"--pod-bridge-interface={pod_interface('pa')}")),
        Config(
            "prefix", ("--detect-local-mode=InterfaceNamePrefix", f"--pod-interface-name-prefix={pod_interface('')}")
        ),
        Config("no-localhost", (CLUSTER_CIDR, "--iptables-localhost-nodeports=false")),
        Config("primary", (CLUSTER_CIDR, "--nodeport-addresses=primary")),
        Config("no-external-ips", (CLUSTER_CIDR, "--feature-gates=AllowServiceExternalIPs=false")),
        Config("no-zone", (CLUSTER_CIDR,), zone=""),
        Config("liberal", (CLUSTER_CIDR, "--conntrack-tcp-be-liberal")),
        Config("stuck", (CLUSTER_CIDR,), stuck=True),
        Config(
            "localhost-gate",
            (
                CLUSTER_CIDR,
                "--feature-gates=KubeProxyNFTablesLocalhostNodePorts=true",
                "--nodeport-addresses=primary,localhost",
            ),
        ),
    )
}
