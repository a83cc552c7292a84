"""The configuration file: fields, zero values, strictness (reference: KubeProxyConfiguration v1alpha1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED
from kproxy.errors import ConfigError, ConfigErrors
from kproxy.settings.document import FileSettings, read_settings
from kproxy.settings.fields import KPROXY_FIELDS, KUBE_PROXY_FIELDS
from kproxy.settings.written import configz, write_settings

KUBEADM = (Path(__file__).parent / "kubeadm.yaml").read_bytes()
HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN_HEAD = "---\napiVersion: kproxy.dev/v1alpha1\nkind: KproxyConfiguration\n"


def read(text: str) -> FileSettings:
    return read_settings((HEAD + text).encode())


def test_what_kubeadm_writes_leaves_the_defaults_alone() -> None:
    """kubeadm writes every field, most of them with its zero value or null: that is no setting."""
    settings = read_settings(KUBEADM)
    assert settings.values == {
        "bind_address": "0.0.0.0",
        "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf",
        "cluster_cidr": ("10.244.0.0/16",),
    }
    assert (settings.warnings, settings.without_effect) == ((), {})


#: field and value in YAML -> the setting and what it is.
FIELDS: list[tuple[str, str, Any]] = [
    ("featureGates: {A: true, B: false}", "feature_gates", ("A=true", "B=false")),
    ("clientConnection: {kubeconfig: /k}", "kubeconfig", "/k"),
    ("clientConnection: {qps: 7.5}", "kube_api_qps", 7.5),
    ("clientConnection: {burst: 15}", "kube_api_burst", 15),
    ("logging: {verbosity: 4}", "verbosity", 4),
    ("hostnameOverride: node-a", "hostname_override", "node-a"),
    ("bindAddress: '::'", "bind_address", "::"),
    ("healthzBindAddress: 127.0.0.1:1", "healthz_bind_address", "127.0.0.1:1"),
    ("metricsBindAddress: 127.0.0.1:2", "metrics_bind_address", "127.0.0.1:2"),
    ("bindAddressHardFail: true", "bind_address_hard_fail", True),
    ("enableProfiling: true", "profiling", True),
    ("mode: iptables", "proxy_mode", "iptables"),
    ("iptables: {masqueradeBit: 0}", "iptables_masquerade_bit", 0),
    ("iptables: {masqueradeAll: true}", "masquerade_all", True),
    ("iptables: {localhostNodePorts: false}", "iptables_localhost_nodeports", False),
    ("iptables: {syncPeriod: 1m}", "iptables_sync_period", 60.0),
    ("iptables: {minSyncPeriod: 5s}", "iptables_min_sync_period", 5.0),
    ("ipvs: {syncPeriod: 10s}", "ipvs_sync_period", 10.0),
    ("ipvs: {scheduler: lc}", "ipvs_scheduler", "lc"),
    ("ipvs: {excludeCIDRs: [10.0.0.0/8]}", "ipvs_exclude_cidrs", ("10.0.0.0/8",)),
    ("ipvs: {strictARP: true}", "ipvs_strict_arp", True),
    ("ipvs: {tcpTimeout: 1s}", "ipvs_tcp_timeout", 1.0),
    ("ipvs: {tcpFinTimeout: 2s}", "ipvs_tcpfin_timeout", 2.0),
    ("ipvs: {udpTimeout: 3s}", "ipvs_udp_timeout", 3.0),
    ("detectLocalMode: NodeCIDR", "detect_local_mode", "NodeCIDR"),
    ("detectLocal: {bridgeInterface: cbr0}", "pod_bridge_interface", "cbr0"),
    ("detectLocal: {interfaceNamePrefix: veth}", "pod_interface_name_prefix", "veth"),
    ("clusterCIDR: '10.0.0.0/8, fd00::/56'", "cluster_cidr", ("10.0.0.0/8", "fd00::/56")),
    ("nodePortAddresses: [primary]", "nodeport_addresses", ("primary",)),
    ("oomScoreAdj: 0", "oom_score_adj", 0),
    ("conntrack: {maxPerCore: 0}", "conntrack_max_per_core", 0),
    ("conntrack: {min: 0}", "conntrack_min", 0),
    ("conntrack: {tcpEstablishedTimeout: 0s}", "conntrack_tcp_timeout_established", 0.0),
    ("conntrack: {tcpCloseWaitTimeout: 1h}", "conntrack_tcp_timeout_close_wait", 3600.0),
    ("conntrack: {tcpBeLiberal: true}", "conntrack_tcp_be_liberal", True),
    ("conntrack: {udpTimeout: 30s}", "conntrack_udp_timeout", 30.0),
    ("conntrack: {udpStreamTimeout: 3m}", "conntrack_udp_timeout_stream", 180.0),
    ("configSyncPeriod: 1h", "config_sync_period", 3600.0),
]


@pytest.mark.parametrize(("text", "key", "value"), FIELDS)
def test_fields(text: str, key: str, value: Any) -> None:
    settings = read(text)
    assert settings.values == {key: value}
    document = yaml.safe_load(text)
    path = ""
    while isinstance(document, dict) and path != "featureGates":
        (name, document), *_ = document.items()
        path = f"{path}.{name}" if path else name
    assert settings.paths == {key: path}


def test_every_flag_has_a_field() -> None:
    """Those without: what kube-proxy has as flags alone."""
    keys = {field.key for field in (*KUBE_PROXY_FIELDS, *KPROXY_FIELDS)}
    only_flags = {
        *("master", "healthz_port", "metrics_port", "boot_id_file", "machine_id_file", "vmodule"),
        *(flag.key for flag in UNUSED if flag.key.startswith("log")),
    }
    assert {flag.key for flag in (*OWN_FLAGS, *SETTINGS, *UNUSED)} - keys <= only_flags


def test_the_section_of_another_mode_does_not_count() -> None:
    sections = "iptables: {masqueradeBit: 1, syncPeriod: 1s}\nnftables: {masqueradeBit: 2, syncPeriod: 2s}\n"
    by_mode = {mode: read(f"{sections}mode: {mode}").values for mode in ("iptables", "nftables", "ipvs")}
    assert {mode: values["iptables_masquerade_bit"] for mode, values in by_mode.items()} == {
        "iptables": 1,
        "nftables": 2,
        "ipvs": 1,
    }
    assert by_mode["iptables"]["iptables_sync_period"] == 1.0
    assert by_mode["nftables"]["iptables_sync_period"] == 2.0
    assert "iptables_sync_period" not in by_mode["ipvs"]


def test_own_settings_are_a_second_document() -> None:
    settings = read(f"mode: iptables\n{OWN_HEAD}manifests: /srv/m\niptables: {{variant: nft}}\n")
    assert settings.values == {"proxy_mode": "iptables", "manifests": "/srv/m", "iptables_variant": "nft"}


def test_json() -> None:
    text = b'{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "oomScoreAdj": 5}'
    assert read_settings(text).values == {"oom_score_adj": 5}


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("clusterCidr: 10.0.0.0/8", "clusterCidr: unknown field"),
        ("conntrack: {max: 5}", "conntrack.max: unknown field"),
        ("oomScoreAdj: 1\noomScoreAdj: 2", "oomScoreAdj: the field is there twice"),
        ("conntrack:\n  min: 1\n  min: 2", "conntrack.min: the field is there twice"),
    ],
)
def test_strictness_is_a_warning(text: str, warning: str) -> None:
    """As in kube-proxy: strict decoding names it, lenient decoding goes on."""
    (said,) = read(text).warnings
    assert said.startswith(warning)


def test_the_same_name_in_two_places_is_no_repetition() -> None:
    text = "iptables: {syncPeriod: 1s}\nipvs: {syncPeriod: 1s}\nnodePortAddresses: [10.0.0.0/8, 10.0.0.0/8]\n"
    assert read(text + OWN_HEAD + "iptables: {variant: nft}").warnings == ()


def test_fields_without_effect() -> None:
    assert read("portRange: 1-2\nwinkernel: {enableDSR: true, networkName: ''}").without_effect == {
        "portRange": "kube-proxy ignores it too",
        "winkernel.enableDSR": "it is for Windows",
    }


#: What is refused, and the field that is named.
REFUSED = [
    ("oomScoreAdj: high", "oomScoreAdj"),
    ("oomScoreAdj: true", "oomScoreAdj"),
    ("oomScoreAdj: 1.5", "oomScoreAdj"),
    ("oomScoreAdj: .inf", "oomScoreAdj"),
    ("oomScoreAdj: .nan", "oomScoreAdj"),
    pytest.param(f"clientConnection: {{qps: {'9' * 400}}}", "clientConnection.qps", id="a number too long for a float"),
    ("bindAddress: 5", "bindAddress"),
    ("bindAddressHardFail: 'true'", "bindAddressHardFail"),
    ("conntrack: 5", "conntrack"),
    ("conntrack: {udpTimeout: 30}", "conntrack.udpTimeout"),
    ("conntrack: {udpTimeout: 30 s}", "conntrack.udpTimeout"),
    ("clusterCIDR: [10.0.0.0/8]", "clusterCIDR"),
    ("nodePortAddresses: primary", "nodePortAddresses"),
    ("nodePortAddresses: [1]", "nodePortAddresses"),
    ("featureGates: [A]", "featureGates"),
    ("featureGates: {A: 'true'}", "featureGates"),
    ("clientConnection: {qps: many}", "clientConnection.qps"),
    ("- a list", "line 3"),
    ("{", "line 3"),
    ("---\napiVersion: v1\nkind: Service", "kind"),
    ("---\n" + HEAD, "kind"),
    ("---\n- a list", "kind"),
]


@pytest.mark.parametrize(("text", "field"), REFUSED)
def test_what_is_refused(text: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.field == field
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [b"", b"---\n", OWN_HEAD.encode()])
def test_a_file_without_kube_proxy_s_document(text: bytes) -> None:
    with pytest.raises(ConfigError, match="there is no KubeProxyConfiguration in it"):
        read_settings(text)


def test_all_errors_at_once() -> None:
    with pytest.raises(ConfigErrors) as caught:
        read("oomScoreAdj: high\nconntrack: {min: x}\nbindAddress: [1]")
    assert [error.field for error in caught.value.errors] == ["oomScoreAdj", "conntrack.min", "bindAddress"]


@pytest.mark.parametrize(("text", "key", "value"), [row for row in FIELDS if row[1] != "ipvs_exclude_cidrs"])
def test_written_and_read_again(text: str, key: str, value: Any) -> None:
    settings = read(text)
    assert read_settings(write_settings(settings.values).encode()).values == settings.values


def test_own_settings_are_written_where_given() -> None:
    values = {"manifests": "/srv/m", "iptables_variant": "auto", "oom_score_adj": 1}
    written = write_settings(values, {"manifests"})
    assert read_settings(written.encode()).values == {"manifests": "/srv/m", "oom_score_adj": 1}
    assert "KproxyConfiguration" not in write_settings(values)


def test_configz_is_the_same_by_api_group() -> None:
    shown = json.loads(configz({"oom_score_adj": 1, "manifests": Path("/m")}, {"manifests"}))
    assert shown["kubeproxy.config.k8s.io"]["oomScoreAdj"] == 1
    assert shown["kproxy.dev"] == {
        "apiVersion": "kproxy.dev/v1alpha1",
        "kind": "KproxyConfiguration",
        "manifests": "/m",
    }
