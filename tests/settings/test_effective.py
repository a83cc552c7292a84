from __future__ import annotations

from kproxy.settings.document import read_settings
from kproxy.settings.effective import effective

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
DEFAULTS = {"oom_score_adj": -999, "healthz_bind_address": "0.0.0.0:10256", "metrics_bind_address": "127.0.0.1:10249"}


def test_flags_alone() -> None:
    merged = effective(DEFAULTS, {"oom_score_adj": 5})
    assert merged.values == DEFAULTS | {"oom_score_adj": 5}
    assert (merged.origins, merged.ignored) == ({"oom_score_adj": "--oom-score-adj"}, ())


def test_the_file_stands_in_for_kube_proxy_s_flags() -> None:
    """A flag that the file leaves out counts as little as one that it sets; kproxy's own flags win."""
    file = read_settings((HEAD + "oomScoreAdj: 7\nhostnameOverride: a").encode())
    given = {"oom_score_adj": 5, "cluster_cidr": ("10.0.0.0/8",), "hostname_override": "b", "manifests": "/m"}
    merged = effective(DEFAULTS, given, file, file_name="/c.yaml", own={"manifests"})
    assert merged.values == DEFAULTS | {"oom_score_adj": 7, "hostname_override": "b", "manifests": "/m"}
    assert merged.origins == {
        "oom_score_adj": "/c.yaml: oomScoreAdj",
        "hostname_override": "--hostname-override",
        "manifests": "--manifests",
    }
    assert merged.ignored == ("--oom-score-adj", "--cluster-cidr")


def test_servers_follow_the_family_of_the_bind_address() -> None:
    file = read_settings((HEAD + "bindAddress: '::'\nmetricsBindAddress: 0.0.0.0:1").encode())
    merged = effective(DEFAULTS, {}, file)
    assert merged.values["healthz_bind_address"] == "[::]:10256"
    assert merged.values["metrics_bind_address"] == "0.0.0.0:1"
