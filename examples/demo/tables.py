"""For each story the connections that show it, and what must come of them.

The numbers behind a line are rows of the table of packet flows that kube-proxy's documentation and rules amount to:
a pod's connection keeps its source, one from elsewhere is masqueraded unless the policy is Local, and so on.
`shopper` is a pod on node-a, `client` a machine outside the cluster, `node-a` a process on the node itself.
"""

from __future__ import annotations

from dataclasses import replace

from examples.demo.expect import DROPPED, REFUSED, Line, by

NODE_IPV4, NODE_IPV6 = "172.18.0.1", "fd00:172:18::1"

WEB = "web-1 web-2 web-3"
WEB_PORTS = (
    Line("shopper", "ClusterIP", "10.96.0.10", 80, by(WEB, 8080), note="http"),
    Line("shopper", "ClusterIP", "10.96.0.10", 443, by(WEB, 8443), note="https"),
    Line("shopper", "ClusterIP", "10.96.0.10", 443, by(WEB, 8443), "udp", note="http3"),
    Line("shopper", "ClusterIP", "10.96.0.10", 9090, by(WEB, 9100), note="metrics"),
    Line("client", "NodePort", NODE_IPV4, 30080, by(WEB, 8080, "masqueraded"), note="http"),
    Line("client", "NodePort", NODE_IPV4, 30443, by(WEB, 8443, "masqueraded"), note="https"),
    Line("client", "NodePort", NODE_IPV4, 30443, by(WEB, 8443, "masqueraded"), "udp", note="http3"),
    Line("client", "NodePort", NODE_IPV4, 30090, by(WEB, 9100, "masqueraded"), note="metrics"),
)

#: What DNS would answer with: the pods' own addresses. No proxy has a hand in it.
HEADLESS_DATABASE = (
    Line("shopper", "pod IP", "10.244.1.13", 5432, by("db-0", 5432), note="db-0.db.shop"),
    Line("shopper", "pod IP", "10.244.2.13", 5432, by("db-1", 5432), note="db-1.db.shop"),
)

EXTERNAL_SERVER = (
    Line("shopper", "ClusterIP", "10.96.0.30", 443, by("mainframe", 8443), note="billing"),
    Line("node-a", "ClusterIP", "10.96.0.30", 443, by("mainframe", 8443, "masqueraded"), note="billing"),
)

SESSION_AFFINITY = (
    Line("shopper", "ClusterIP", "10.96.0.40", 80, by("cart-1 cart-2 cart-3", 8080, sticky=True), note="cart"),
)

TOPOLOGY_HINTS = (Line("shopper", "ClusterIP", "10.96.0.50", 80, by("catalog-1", 8080), note="catalog"),)

GATEWAY = "gateway-1 gateway-2"
LOCAL_TRAFFIC = (
    Line("client", "LoadBalancer", "10.97.0.60", 80, by("gateway-1", 8080), note="gateway"),
    Line("client", "LoadBalancer", "fd00:10:97::60", 80, by("gateway-1", 8080), note="gateway"),
    Line("client", "NodePort", NODE_IPV4, 30060, by("gateway-1", 8080), note="gateway"),
    Line("client", "NodePort", NODE_IPV6, 30060, by("gateway-1", 8080), note="gateway"),
    Line("shopper", "LoadBalancer", "10.97.0.60", 80, by(GATEWAY, 8080), note="gateway"),
    Line("shopper", "ClusterIP", "fd00:10:96::60", 80, by(GATEWAY, 8080), note="gateway"),
    Line("shopper", "ClusterIP", "10.96.0.61", 514, by("logs-1", 5140), "udp", note="logs"),
    Line("node-a", "ClusterIP", "10.96.0.61", 514, by("logs-1", 5140, "masqueraded"), "udp", note="logs"),
)

API = "api-1 api-2"
DUAL_STACK = (
    Line("shopper", "ClusterIP", "10.96.0.70", 80, by(API, 8080)),
    Line("shopper", "ClusterIP", "fd00:10:96::70", 80, by(API, 8080)),
    Line("client", "NodePort", NODE_IPV4, 30070, by(API, 8080, "masqueraded")),
    Line("client", "NodePort", NODE_IPV6, 30070, by(API, 8080, "masqueraded")),
    Line("client", "LoadBalancer", "10.97.0.70", 80, by(API, 8080, "masqueraded")),
    Line("client", "LoadBalancer", "fd00:10:97::70", 80, by(API, 8080, "masqueraded")),
    Line("client", "externalIP", "10.98.0.70", 80, by(API, 8080, "masqueraded")),
    Line("client", "externalIP", "fd00:10:98::70", 80, by(API, 8080, "masqueraded")),
)

#: By the name of the story's directory.
STORIES: dict[str, tuple[Line, ...]] = {
    "web-ports": WEB_PORTS,
    "headless-database": HEADLESS_DATABASE,
    "external-server": EXTERNAL_SERVER,
    "session-affinity": SESSION_AFFINITY,
    "topology-hints": TOPOLOGY_HINTS,
    "local-traffic": LOCAL_TRAFFIC,
    "dual-stack": DUAL_STACK,
}

#: The same after the pods of gateway and logs on node-a are gone: what is Local finds nobody here, what is not goes on.
NO_LOCAL_POD = (
    *(
        replace(line, expected=DROPPED)
        for line in LOCAL_TRAFFIC
        if line.source == "client" and line.way == "LoadBalancer"
    ),
    replace(LOCAL_TRAFFIC[2], expected=DROPPED),
    replace(LOCAL_TRAFFIC[4], expected=by("gateway-2", 8080)),
    replace(LOCAL_TRAFFIC[5], expected=by("gateway-2", 8080)),
    replace(LOCAL_TRAFFIC[6], expected=DROPPED),
)

#: web-ports with no pod left: refused at once, whichever way.
SCALED_TO_ZERO = tuple(replace(line, expected=REFUSED) for line in WEB_PORTS)
