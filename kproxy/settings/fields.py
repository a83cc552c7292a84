"""The fields of the configuration file, and which setting each one is.

A setting is named by its flag's key (`iptables_masquerade_bit`): file and flags are two languages for the same values.
Behaviour: KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1, of Kubernetes 1.36.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

KUBE_PROXY_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KUBE_PROXY_KIND = "KubeProxyConfiguration"
KPROXY_VERSION = "kproxy.dev/v1alpha1"
KPROXY_KIND = "KproxyConfiguration"


class Kind(enum.Enum):
    """What a field holds, as the user would say it."""

    TEXT = "a string"
    BOOLEAN = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    DURATION = "a duration (30s, 1m30s)"
    TEXTS = "a list of strings"
    COMMA_TEXT = "a string, values separated by commas"
    SWITCHES = "a mapping of names to true or false"
    ANYTHING = "anything"


class Field(NamedTuple):
    """One field.

    `path` is its place in the document ("conntrack.maxPerCore"), `key` the setting ("" where there is none). A
    `pointer` field is unset only when it is missing or null; any other one also when it holds its zero value, as in
    Go. `modes`: the proxy modes in which the field counts (empty: all). `note` says why a field without a setting has
    no effect.
    """

    path: str
    key: str
    kind: Kind
    pointer: bool = False
    modes: frozenset[str] = frozenset()
    note: str = ""


_IPTABLES = frozenset({"iptables", "userspace"})
_IPTABLES_IPVS = _IPTABLES | {"ipvs"}
_NFTABLES = frozenset({"nftables"})
_WINDOWS = "it is for Windows"

KUBE_PROXY_FIELDS = (
    Field("featureGates", "feature_gates", Kind.SWITCHES),
    Field("clientConnection.kubeconfig", "kubeconfig", Kind.TEXT),
    Field("clientConnection.acceptContentTypes", "", Kind.TEXT, note="JSON is read"),
    Field("clientConnection.contentType", "kube_api_content_type", Kind.TEXT),
    Field("clientConnection.qps", "kube_api_qps", Kind.NUMBER),
    Field("clientConnection.burst", "kube_api_burst", Kind.INTEGER),
    Field("logging.format", "logging_format", Kind.TEXT),
    Field("logging.flushFrequency", "", Kind.ANYTHING),
    Field("logging.verbosity", "verbosity", Kind.INTEGER),
    Field("logging.vmodule", "", Kind.ANYTHING, note="there is one level for all of it"),
    Field("logging.options", "", Kind.ANYTHING),
    Field("hostnameOverride", "hostname_override", Kind.TEXT),
    Field("bindAddress", "bind_address", Kind.TEXT),
    Field("healthzBindAddress", "healthz_bind_address", Kind.TEXT),
    Field("metricsBindAddress", "metrics_bind_address", Kind.TEXT),
    Field("bindAddressHardFail", "bind_address_hard_fail", Kind.BOOLEAN),
    Field("enableProfiling", "profiling", Kind.BOOLEAN),
    Field("showHiddenMetricsForVersion", "show_hidden_metrics_for_version", Kind.TEXT),
    Field("mode", "proxy_mode", Kind.TEXT),
    Field("iptables.masqueradeBit", "iptables_masquerade_bit", Kind.INTEGER, pointer=True, modes=_IPTABLES_IPVS),
    Field("iptables.masqueradeAll", "masquerade_all", Kind.BOOLEAN, modes=_IPTABLES_IPVS),
    Field("iptables.localhostNodePorts", "iptables_localhost_nodeports", Kind.BOOLEAN, pointer=True),
    Field("iptables.syncPeriod", "iptables_sync_period", Kind.DURATION, modes=_IPTABLES),
    Field("iptables.minSyncPeriod", "iptables_min_sync_period", Kind.DURATION, modes=_IPTABLES),
    Field("ipvs.syncPeriod", "ipvs_sync_period", Kind.DURATION),
    Field("ipvs.minSyncPeriod", "ipvs_min_sync_period", Kind.DURATION),
    Field("ipvs.scheduler", "ipvs_scheduler", Kind.TEXT),
    Field("ipvs.excludeCIDRs", "ipvs_exclude_cidrs", Kind.TEXTS),
    Field("ipvs.strictARP", "ipvs_strict_arp", Kind.BOOLEAN),
    Field("ipvs.tcpTimeout", "ipvs_tcp_timeout", Kind.DURATION),
    Field("ipvs.tcpFinTimeout", "ipvs_tcpfin_timeout", Kind.DURATION),
    Field("ipvs.udpTimeout", "ipvs_udp_timeout", Kind.DURATION),
    Field("nftables.masqueradeBit", "iptables_masquerade_bit", Kind.INTEGER, pointer=True, modes=_NFTABLES),
    Field("nftables.masqueradeAll", "masquerade_all", Kind.BOOLEAN, modes=_NFTABLES),
    Field("nftables.syncPeriod", "iptables_sync_period", Kind.DURATION, modes=_NFTABLES),
    Field("nftables.minSyncPeriod", "iptables_min_sync_period", Kind.DURATION, modes=_NFTABLES),
    Field("winkernel.networkName", "", Kind.TEXT, note=_WINDOWS),
    Field("winkernel.sourceVip", "", Kind.TEXT, note=_WINDOWS),
    Field("winkernel.enableDSR", "", Kind.BOOLEAN, note=_WINDOWS),
    Field("winkernel.rootHnsEndpointName", "", Kind.TEXT, note=_WINDOWS),
    Field("winkernel.forwardHealthCheckVip", "", Kind.BOOLEAN, note=_WINDOWS),
    Field("detectLocalMode", "detect_local_mode", Kind.TEXT),
    Field("detectLocal.bridgeInterface", "pod_bridge_interface", Kind.TEXT),
    Field("detectLocal.interfaceNamePrefix", "pod_interface_name_prefix", Kind.TEXT),
    Field("clusterCIDR", "cluster_cidr", Kind.COMMA_TEXT),
    Field("nodePortAddresses", "nodeport_addresses", Kind.TEXTS),
    Field("oomScoreAdj", "oom_score_adj", Kind.INTEGER, pointer=True),
    Field("conntrack.maxPerCore", "conntrack_max_per_core", Kind.INTEGER, pointer=True),
    Field("conntrack.min", "conntrack_min", Kind.INTEGER, pointer=True),
    Field("conntrack.tcpEstablishedTimeout", "conntrack_tcp_timeout_established", Kind.DURATION, pointer=True),
    Field("conntrack.tcpCloseWaitTimeout", "conntrack_tcp_timeout_close_wait", Kind.DURATION, pointer=True),
    Field("conntrack.tcpBeLiberal", "conntrack_tcp_be_liberal", Kind.BOOLEAN),
    Field("conntrack.udpTimeout", "conntrack_udp_timeout", Kind.DURATION),
    Field("conntrack.udpStreamTimeout", "conntrack_udp_timeout_stream", Kind.DURATION),
    Field("configSyncPeriod", "config_sync_period", Kind.DURATION),
    Field("portRange", "", Kind.TEXT, note="kube-proxy ignores it too"),
    Field("windowsRunAsService", "", Kind.BOOLEAN, note=_WINDOWS),
)

KPROXY_FIELDS = (
    Field("manifests", "manifests", Kind.TEXT),
    Field("iptables.variant", "iptables_variant", Kind.TEXT),
    Field("nftables.connectionCounters", "connection_counters", Kind.TEXT),
    Field("dns.bindAddresses", "dns_bind_address", Kind.TEXTS),
    Field("dns.clusterDomain", "cluster_domain", Kind.TEXT),
    Field("dns.upstreams", "dns_upstream", Kind.TEXTS),
    Field("dns.ttl", "dns_ttl", Kind.INTEGER, pointer=True),
    Field("dns.pods", "dns_pods", Kind.TEXT),
    Field("dns.reverse", "dns_reverse", Kind.TEXTS),
    Field("dns.namespaces", "dns_namespaces", Kind.TEXTS),
    Field("dns.fallthrough", "dns_fallthrough", Kind.TEXTS),
    Field("dns.transferTo", "dns_transfer_to", Kind.TEXTS),
    Field("dns.endpointPodNames", "dns_endpoint_pod_names", Kind.BOOLEAN),
    Field("dns.zonal", "dns_zonal", Kind.BOOLEAN),
    Field("dns.ignoreEmptyService", "dns_ignore_empty_service", Kind.BOOLEAN),
    Field("dns.noEndpoints", "dns_no_endpoints", Kind.BOOLEAN),
    Field("dns.nodeLocal", "dns_node_local", Kind.TEXTS),
    Field("dns.intercept", "dns_intercept", Kind.TEXTS),
    Field("dns.workers", "dns_workers", Kind.INTEGER, pointer=True),
    Field("dns.metricsBindAddress", "dns_metrics_bind_address", Kind.TEXT, pointer=True),
    Field("dns.readyFile", "dns_ready_file", Kind.TEXT),
)
"""kproxy's own settings: a second document of the same file."""
