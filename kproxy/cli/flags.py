"""kube-proxy's flags, all of them, so that an admin's command line works unchanged; and the few that are kproxy's own.

Names and defaults are kube-proxy's. A flag that has no effect here is taken all the same, and `note` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from kproxy.cli.values import BOOLEAN, COMMA_LIST, DURATION, VERBOSITY

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `note`, where it is not empty, is why the flag has no effect in this version."""

    name: str
    type: click.ParamType[Any] | type[Any]
    default: Any
    help: str
    note: str = ""
    multiple: bool = False

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")


PROXY_FLAGS = (
    Flag("manifests", Path, None, "Directory of YAML and JSON manifests to follow instead of the Kubernetes API."),
    Flag(
        "iptables-variant",
        click.Choice(["auto", "legacy", "nft"]),
        "auto",
        "Which iptables to use; auto takes the one that the kubelet uses on this node.",
    ),
    Flag(
        "connection-counters",
        click.Choice(["none", "services", "endpoints"]),
        "none",
        "Count new connections, as metrics: by Service port, or by endpoint as well (nftables mode).",
    ),
)

SOURCE_FLAGS = (
    PROXY_FLAGS[0],
    Flag("kubeconfig", str, "", "kubeconfig file; without it the Pod's service account (in-cluster)."),
    Flag("master", str, "", "Address of the API server, instead of the kubeconfig's."),
)
"""Where `kproxy dns` learns of the cluster; they mean what they mean to `kproxy run`."""

LOGGING_FORMAT = Flag("logging-format", str, "text", "text, or json: an object a line.")

DNS_FLAGS = (
    Flag(
        "dns-bind-address",
        COMMA_LIST,
        (),
        "IP:PORT to answer DNS on; several, with commas. `kproxy run` without it: no DNS.",
        multiple=True,
    ),
    Flag("cluster-domain", str, "cluster.local", "The cluster's domain."),
    Flag(
        "dns-upstream",
        COMMA_LIST,
        (),
        "Servers to ask for names outside the cluster, IP or IP:PORT. Empty: those of the node's resolv.conf.",
        multiple=True,
    ),
    Flag("dns-ttl", int, 5, "TTL of the cluster's records in seconds, 0 to 3600."),
    Flag(
        "dns-pods",
        click.Choice(["insecure", "verified", "disabled"]),
        "insecure",
        "Answer names made of a Pod's address: any, those of Pods there are (then all Pods are followed), or none.",
    ),
    Flag(
        "dns-reverse",
        COMMA_LIST,
        (),
        "CIDRs of the cluster, in which unknown addresses have no name; elsewhere they are asked of the upstreams.",
        multiple=True,
    ),
    Flag("dns-namespaces", COMMA_LIST, (), "The only namespaces that have names. Empty: all.", multiple=True),
    Flag(
        "dns-fallthrough",
        COMMA_LIST,
        (),
        "Parts of the zone, as domains, in which names that do not exist are asked of the upstreams.",
        multiple=True,
    ),
    Flag(
        "dns-transfer-to",
        COMMA_LIST,
        (),
        "IPs and CIDRs of those who may have the whole zone by AXFR or IXFR, over TCP. Empty: nobody.",
        multiple=True,
    ),
    Flag("dns-endpoint-pod-names", BOOLEAN, False, "An endpoint without hostname is called as its Pod."),
    Flag("dns-zonal", BOOLEAN, False, "Names for a headless Service's endpoints in a zone: ZONE.pin._zone.SERVICE..."),
    Flag("dns-ignore-empty-service", BOOLEAN, False, "A ClusterIP Service without ready endpoints has no name."),
    Flag("dns-no-endpoints", BOOLEAN, False, "No names of endpoints, and so no headless Services."),
    Flag(
        "dns-node-local",
        COMMA_LIST,
        (),
        "IPs to make on this node and to answer on, port 53, as in 169.254.20.10; kept out of connection tracking.",
        multiple=True,
    ),
    Flag(
        "dns-intercept",
        COMMA_LIST,
        (),
        "The cluster DNS Service's own IPs: answered on this node while DNS is healthy here, else by the Service.",
        multiple=True,
    ),
    Flag("dns-workers", int, 1, "Processes that answer."),
    Flag("dns-metrics-bind-address", str, "127.0.0.1:9153", "IP:PORT of /metrics, /ready and /health; empty: none."),
    Flag("dns-ready-file", str, "", "A file that is there while every name is answered for, for a probe."),
)

OWN_FLAGS = (*PROXY_FLAGS, *DNS_FLAGS)
"""What kube-proxy has not."""

SETTINGS = (
    Flag("kubeconfig", str, "", "kubeconfig file; without it the Pod's service account (in-cluster)."),
    Flag("master", str, "", "Address of the API server, instead of the kubeconfig's."),
    Flag("hostname-override", str, "", "Name of this node; otherwise the hostname."),
    Flag("proxy-mode", str, "", "iptables (the default), nftables or ipvs."),
    Flag(
        "bind-address",
        str,
        "0.0.0.0",
        "The node's own IP, instead of the Node object's. Nothing is bound to it.",
    ),
    Flag("healthz-bind-address", str, "0.0.0.0:10256", "IP:PORT of /healthz and /livez; empty switches it off."),
    Flag("metrics-bind-address", str, "127.0.0.1:10249", "IP:PORT of /metrics and /proxyMode; empty switches it off."),
    Flag("healthz-port", int, None, "Deprecated: the port of --healthz-bind-address; 0 switches it off."),
    Flag("metrics-port", int, None, "Deprecated: the port of --metrics-bind-address; 0 switches it off."),
    Flag("bind-address-hard-fail", BOOLEAN, False, "Exit when one of these two ports is taken, instead of retrying."),
    Flag("detect-local-mode", str, "ClusterCIDR", "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix."),
    Flag("cluster-cidr", COMMA_LIST, (), "CIDR of the cluster's pods, one per family.", multiple=True),
    Flag("pod-bridge-interface", str, "", "Bridge of the pods (BridgeInterface)."),
    Flag("pod-interface-name-prefix", str, "", "Prefix of the pods' interfaces (InterfaceNamePrefix)."),
    Flag(
        "nodeport-addresses",
        COMMA_LIST,
        (),
        "CIDRs of the node's addresses for node ports; also primary, localhost, all. Empty: all (nftables: primary).",
        multiple=True,
    ),
    Flag("masquerade-all", BOOLEAN, False, "Masquerade all traffic that is sent to a clusterIP."),
    Flag("iptables-masquerade-bit", int, 14, "Bit of the packet mark that asks for masquerading (0 to 31)."),
    Flag("iptables-localhost-nodeports", BOOLEAN, True, "Serve node ports on 127.0.0.1 (iptables mode)."),
    Flag("iptables-sync-period", DURATION, 30.0, "How often the rules are looked after when nothing changes."),
    Flag("iptables-min-sync-period", DURATION, 0.0, "Shortest time between two syncs (kube-proxy: 1s)."),
    Flag("ipvs-sync-period", DURATION, 30.0, "The same as --iptables-sync-period, for IPVS mode."),
    Flag("ipvs-min-sync-period", DURATION, 0.0, "Shortest time between two syncs in IPVS mode."),
    Flag("ipvs-scheduler", str, "", "How IPVS chooses an endpoint: rr (the default), lc, sh, mh ..."),
    Flag("ipvs-exclude-cidrs", COMMA_LIST, (), "Addresses whose virtual servers are never deleted.", multiple=True),
    Flag("ipvs-strict-arp", BOOLEAN, False, "Answer ARP only for addresses of the link that asks."),
    Flag("ipvs-tcp-timeout", DURATION, 0.0, "Timeout of idle TCP connections in IPVS; 0 leaves it alone."),
    Flag("ipvs-tcpfin-timeout", DURATION, 0.0, "Timeout after a FIN in IPVS; 0 leaves it alone."),
    Flag("ipvs-udp-timeout", DURATION, 0.0, "Timeout of UDP flows in IPVS; 0 leaves it alone."),
    Flag("conntrack-max-per-core", int, 32768, "Size of the conntrack table per core; 0 leaves it alone."),
    Flag("conntrack-min", int, 131072, "Smallest size of the conntrack table."),
    Flag("conntrack-tcp-timeout-established", DURATION, 86400.0, "Timeout of idle TCP connections; 0 leaves it alone."),
    Flag("conntrack-tcp-timeout-close-wait", DURATION, 3600.0, "Timeout in CLOSE_WAIT; 0 leaves it alone."),
    Flag("conntrack-tcp-be-liberal", BOOLEAN, False, "Track TCP segments outside the window."),
    Flag("conntrack-udp-timeout", DURATION, 0.0, "Timeout of unanswered UDP flows; 0 leaves it alone."),
    Flag("conntrack-udp-timeout-stream", DURATION, 0.0, "Timeout of answered UDP flows; 0 leaves it alone."),
    Flag("oom-score-adj", int, -999, "The process's oom_score_adj, -1000 to 1000."),
    LOGGING_FORMAT,
    Flag(
        "feature-gates",
        COMMA_LIST,
        (),
        "NAME=true or NAME=false; AllowServiceExternalIPs and KubeProxyNFTablesLocalhostNodePorts have an effect.",
        multiple=True,
    ),
)

_ONE_WATCH = "kproxy makes one watch per resource and hardly another request"
_LOGGING = "logs go to standard error as they come"

UNUSED = (
    Flag(
        "kube-api-content-type", str, "application/vnd.kubernetes.protobuf", "Content type of requests.", "JSON is read"
    ),
    Flag("kube-api-qps", float, 5.0, "Requests a second.", _ONE_WATCH),
    Flag("kube-api-burst", int, 10, "Burst of requests.", _ONE_WATCH),
    Flag(
        "config-sync-period",
        DURATION,
        900.0,
        "Resync of the API's objects.",
        "every relist is compared",
    ),
    Flag("profiling", BOOLEAN, False, "/debug/pprof.", "there is no Go runtime to profile"),
    Flag("show-hidden-metrics-for-version", str, "", "Show hidden metrics.", "no metric is hidden"),
    Flag("boot-id-file", COMMA_LIST, (), "Files to read the boot id from.", "it is not needed", multiple=True),
    Flag("machine-id-file", COMMA_LIST, (), "Files to read the machine id from.", "it is not needed", multiple=True),
    Flag("vmodule", str, "", "Log levels by file.", "there is one level for all of it"),
    Flag("log-flush-frequency", DURATION, 5.0, "How often logs are flushed.", "logs are never buffered"),
    Flag("log-json-split-stream", BOOLEAN, False, "Split the JSON log.", _LOGGING),
    Flag("log-json-info-buffer-size", str, "0", "Buffer of the JSON log.", _LOGGING),
    Flag("log-text-split-stream", BOOLEAN, False, "Split the text log.", _LOGGING),
    Flag("log-text-info-buffer-size", str, "0", "Buffer of the text log.", _LOGGING),
)


def flag_options(*groups: tuple[Flag, ...]) -> Callable[[F], F]:
    """Return a decorator that adds click options for all flags of the groups, in their order."""

    def decorate(command: F) -> F:
        for flag in reversed([flag for group in groups for flag in group]):
            command = _option(flag)(command)
        return command

    return decorate


def _option(flag: Flag) -> Callable[[F], F]:
    text = f"{flag.help} [no effect: {flag.note}]" if flag.note else flag.help
    settings: dict[str, Any] = {
        "help": text,
        "default": flag.default,
        "show_default": flag.default not in (None, "", ()),
    }
    if flag.type is Path:
        settings["type"] = click.Path(path_type=Path)
    else:
        settings["type"] = flag.type
    if flag.type is BOOLEAN:
        settings |= {"is_flag": False, "flag_value": "true", "metavar": "[=true|false]"}
    if flag.multiple:
        settings |= {"multiple": True, "default": ()}
    return click.option(f"--{flag.name}", flag.key, **settings)


def verbosity_option(command: F) -> F:
    """Add -v and --v."""
    return click.option("-v", "--v", "verbosity", type=VERBOSITY, default=0, show_default=True, help="Log level.")(
        command
    )


def config_option(command: F) -> F:
    """Add --config."""
    text = "KubeProxyConfiguration file (YAML or JSON); it stands in for all of kube-proxy's flags."
    return click.option("--config", default="", help=text)(command)


def flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Join the values of list flags that were given several times."""
    lists = {flag.key for flag in (*OWN_FLAGS, *SETTINGS, *UNUSED) if flag.multiple}
    return {
        key: tuple(part for parts in value for part in parts) if key in lists else value
        for key, value in values.items()
    }
