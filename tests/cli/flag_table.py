"""kube-proxy's flags on Linux with their defaults, typed from reference section 8.1. Times are in seconds.

The one default that differs on purpose is that of --iptables-min-sync-period (kube-proxy: 1 s).
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "config": "",
    "write-config-to": "",
    "cleanup": False,
    "init-only": False,
    "feature-gates": (),
    "kubeconfig": "",
    "master": "",
    "kube-api-content-type": "application/vnd.kubernetes.protobuf",
    "kube-api-qps": 5,
    "kube-api-burst": 10,
    "hostname-override": "",
    "bind-address": "0.0.0.0",
    "healthz-bind-address": "0.0.0.0:10256",
    "metrics-bind-address": "127.0.0.1:10249",
    "bind-address-hard-fail": False,
    "profiling": False,
    "show-hidden-metrics-for-version": "",
    "iptables-masquerade-bit": 14,
    "masquerade-all": False,
    "iptables-localhost-nodeports": True,
    "iptables-sync-period": 30,
    "iptables-min-sync-period": 0,
    "ipvs-sync-period": 30,
    "ipvs-min-sync-period": 0,
    "ipvs-scheduler": "",
    "ipvs-exclude-cidrs": (),
    "ipvs-strict-arp": False,
    "ipvs-tcp-timeout": 0,
    "ipvs-tcpfin-timeout": 0,
    "ipvs-udp-timeout": 0,
    "detect-local-mode": "ClusterCIDR",
    "pod-bridge-interface": "",
    "pod-interface-name-prefix": "",
    "cluster-cidr": (),
    "nodeport-addresses": (),
    "oom-score-adj": -999,
    "conntrack-max-per-core": 32768,
    "conntrack-min": 131072,
    "conntrack-tcp-timeout-established": 86400,
    "conntrack-tcp-timeout-close-wait": 3600,
    "conntrack-tcp-be-liberal": False,
    "conntrack-udp-timeout": 0,
    "conntrack-udp-timeout-stream": 0,
    "config-sync-period": 900,
    "v": 0,
    "vmodule": "",
    "logging-format": "text",
    "log-flush-frequency": 5,
}

#: Flags whose default has no place in the table: (a value for the command line, what it is read as).
OTHERS: dict[str, tuple[str, Any]] = {
    "healthz-port": ("10256", 10256),
    "metrics-port": ("10249", 10249),
    "proxy-mode": ("iptables", "iptables"),
    "boot-id-file": ("/a,/b", ("/a", "/b")),
    "machine-id-file": ("/a", ("/a",)),
    "log-json-split-stream": ("true", True),
    "log-json-info-buffer-size": ("1M", "1M"),
    "log-text-split-stream": ("true", True),
    "log-text-info-buffer-size": ("0", "0"),
}
