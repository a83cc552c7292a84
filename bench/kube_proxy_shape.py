"""The rules that kube-proxy's iptables mode makes of the workload: a chain per Service and one per endpoint.

Only for comparison: how long does the tool itself take for that shape.
"""

from __future__ import annotations

from bench.workload import ENDPOINTS, POD_CIDR, PORT, TARGET_PORT, endpoint_ips, service_ip
from kproxy.plan.iptables.names import endpoint_name, port_hash
from kproxy.state.service import ServicePortName


def restore_text(services: int) -> str:
    """iptables-restore input; chains are declared in descending order, the quickest for the nft variant."""
    chains = ["KUBE-SERVICES", "KUBE-MARK-MASQ"]
    dispatch: list[str] = []
    rules: list[str] = ["-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000"]
    for index in range(services):
        name = ServicePortName("bench", f"svc-{index}", "", "TCP")
        chain, ip = f"KUBE-SVC-{port_hash(name)}", service_ip(index)
        chains.append(chain)
        match = f'-m comment --comment "{name} cluster IP" -m tcp -p tcp -d {ip} --dport {PORT}'
        dispatch.append(f"-A KUBE-SERVICES {match} -j {chain}")
        rules.append(f"-A {chain} {match} ! -s {POD_CIDR} -j KUBE-MARK-MASQ")
        for number, endpoint in enumerate(endpoint_ips(index)):
            target = f"{endpoint}:{TARGET_PORT}"
            endpoint_chain = endpoint_name(name, target)
            chains.append(endpoint_chain)
            left = ENDPOINTS - number
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            rules.append(f"-A {chain} {chance}-j {endpoint_chain}")
            rules.append(f"-A {endpoint_chain} -s {endpoint} -j KUBE-MARK-MASQ")
            rules.append(f"-A {endpoint_chain} -m tcp -p tcp -j DNAT --to-destination {target}")
    declared = [f":{chain} - [0:0]" for chain in sorted(chains, reverse=True)]
    return "\n".join(["*nat", *declared, *dispatch, *rules, "COMMIT", ""])
