"""Configuration files beside the real kube-proxy: what it starts with, kproxy starts with; what it refuses, too.

Both are asked to write the configuration out, which is what they do once it is found to be right.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from kproxy.cli import main
from tests.peers import peer, require

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

#: Taken or refused by both; which of the two, kube-proxy decides.
BOTH = """
mode: iptables
mode: ""
mode: userspace
mode: nonsense
mode: ipvs
mode: nftables
iptables: {masqueradeBit: 32}
iptables: {masqueradeBit: -1}
iptables: {masqueradeBit: 0}
iptables: {syncPeriod: 0s}
iptables: {syncPeriod: -1s}
iptables: {syncPeriod: 1s, minSyncPeriod: 2s}
iptables: {minSyncPeriod: -1s}
iptables: {syncPeriod: 10}
iptables: {syncPeriod: "10"}
iptables: {localhostNodePorts: false}
iptables: 3
mode: nftables; nftables: {masqueradeBit: 32}
mode: nftables; nftables: {syncPeriod: -1s}
mode: nftables; nftables: {syncPeriod: 1s, minSyncPeriod: 2s}
mode: nftables; iptables: {syncPeriod: -1s}
mode: ipvs; ipvs: {syncPeriod: -1s}
mode: ipvs; ipvs: {syncPeriod: 1s, minSyncPeriod: 2s}
mode: ipvs; ipvs: {excludeCIDRs: [x]}
mode: ipvs; ipvs: {tcpTimeout: -1s}
mode: iptables; ipvs: {excludeCIDRs: [x]}
mode: iptables; ipvs: {tcpTimeout: -1s}
mode: iptables; ipvs: {syncPeriod: -1s}
mode: iptables; ipvs: {scheduler: nonsense}
oomScoreAdj: 1001
oomScoreAdj: -1001
oomScoreAdj: 0
configSyncPeriod: 0s
configSyncPeriod: -1s
conntrack: {maxPerCore: -1}
conntrack: {min: -1}
conntrack: {tcpEstablishedTimeout: -1s}
conntrack: {tcpCloseWaitTimeout: -1s}
conntrack: {udpTimeout: -1s}
conntrack: {udpStreamTimeout: -1s}
conntrack: {maxPerCore: 0, min: 0}
conntrack: {maxPerCore: "3"}
conntrack: {maxPerCore: 3.0}
conntrack: null
bindAddress: x
bindAddress: "::"
bindAddress: ""
healthzBindAddress: x
healthzBindAddress: ""
healthzBindAddress: 0.0.0.0
healthzBindAddress: "0.0.0.0:99999"
healthzBindAddress: "0.0.0.0:0"
healthzBindAddress: "[::]:10256"
healthzBindAddress: "::"
healthzBindAddress: "localhost:10256"
metricsBindAddress: ""
metricsBindAddress: "0.0.0.0:x"
metricsBindAddress: "127.0.0.1"
clusterCIDR: x
clusterCIDR: "10.0.0.0"
clusterCIDR: "10.0.0.0/8,fd00::/8"
clusterCIDR: "10.0.0.0/8,11.0.0.0/8"
clusterCIDR: "10.0.0.0/8,fd00::/8,12.0.0.0/8"
nodePortAddresses: [x]
nodePortAddresses: [primary]
nodePortAddresses: ["10.0.0.0/8", "fd00::/8"]
nodePortAddresses: ["10.0.0.0/8", "10.0.0.0/8"]
nodePortAddresses: [10.0.0.1]
nodePortAddresses: [""]
nodePortAddresses: "10.0.0.0/8"
detectLocalMode: x
detectLocalMode: ""
detectLocalMode: NodeCIDR
detectLocalMode: ClusterCIDR
detectLocalMode: BridgeInterface
detectLocalMode: BridgeInterface; detectLocal: {bridgeInterface: br0}
detectLocalMode: InterfaceNamePrefix
detectLocalMode: InterfaceNamePrefix; detectLocal: {interfaceNamePrefix: abc}
clientConnection: {burst: -1}
clientConnection: {qps: -1}
clientConnection: {qps: x}
featureGates: {AllowServiceExternalIPs: true}
featureGates: {AllowServiceExternalIPs: "yes"}
logging: {format: nonsense}
logging: {format: json}
logging: {verbosity: -1}
logging: {verbosity: 3}
logging: {vmodule: [{filePattern: x, verbosity: 3}]}
hostnameOverride: " Node-A "
unknown: 3
mode: iptables; mode: nftables
portRange: "1-2"
winkernel: {networkName: x}
windowsRunAsService: true
enableProfiling: "true"
enableProfiling: yes
bindAddressHardFail: true
"""

#: What kproxy takes and kube-proxy 1.36 does not: it is harmless, or a later kube-proxy takes it too.
TAKEN = """
healthzBindAddress: ":10256"
metricsBindAddress: ":10249"
clusterCIDR: "10.0.0.0/8, fd00::/8"
mode: nftables; iptables: {masqueradeBit: 40}
nodePortAddresses: [primary, 10.0.0.0/8]
nodePortAddresses: [localhost]
showHiddenMetricsForVersion: "1.1"
featureGates: {Nonsense: true}
featureGates: {NFTablesProxyMode: false}
"""

#: What kube-proxy takes and then can't work with.
REFUSED = """
mode: ipvs; ipvs: {scheduler: nonsense}
hostnameOverride: "  "
"""

ROWS: list[tuple[str, bool | None]] = [(row, None) for row in BOTH.strip().splitlines()]
ROWS += [(row, True) for row in TAKEN.strip().splitlines()] + [(row, False) for row in REFUSED.strip().splitlines()]


@pytest.mark.parametrize(("row", "taken"), ROWS, ids=[row for row, _ in ROWS])
def test_what_is_taken_and_what_is_refused(
    row: str, taken: bool | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`taken`: whether kproxy takes it, where kube-proxy does the opposite."""
    require("kube-proxy")
    config = tmp_path / "config.conf"
    config.write_text(HEAD + row.replace("; ", "\n") + "\n", encoding="utf-8")
    arguments = ["--config", str(config), "--write-config-to", str(tmp_path / "written")]
    theirs = subprocess.run([peer("kube-proxy"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    with pytest.raises(SystemExit) as ours:
        main(["run", *arguments])
    said = f"kube-proxy: {theirs.stderr[-400:]}\nkproxy: {capsys.readouterr().err}"
    assert (theirs.returncode == 0) is (not taken if taken is not None else ours.value.code == 0), said
    assert taken in (None, ours.value.code == 0), said


def test_logs_in_json_tell_the_time_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("kube-proxy")
    arguments = ["--logging-format=json", "--profiling", "--write-config-to", str(tmp_path / "written")]
    theirs = subprocess.run([peer("kube-proxy"), *arguments], capture_output=True, text=True, timeout=60, check=True)
    with pytest.raises(SystemExit):
        main(["run", *arguments])
    stamps = []
    for log in (theirs.stderr, capsys.readouterr().err):
        line = next(line for line in log.splitlines() if line.startswith("{"))
        stamps.append(json.loads(line)["ts"])
    assert stamps[1] == pytest.approx(stamps[0], abs=60_000)
