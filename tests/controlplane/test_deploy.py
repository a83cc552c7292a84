"""deploy/ against a real API server: every object is taken as it is, field by field, and may do what it has to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from kproxy.cli.dns import dns as dns_command
from kproxy.cli.flags import flatten
from kproxy.dns.server.config import build_dns_config
from kproxy.settings.document import read_settings
from tests.controlplane.control_plane import ADMIN_TOKEN
from tests.docs.commands import commands
from tests.lab.agent import eventually
from tests.peers import peer, require

if TYPE_CHECKING:
    from tests.controlplane import ControlPlane

pytestmark = pytest.mark.root
DEPLOY = Path(__file__).parents[2] / "deploy"
APPLY = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server")
MONITORS = "/apis/monitoring.coreos.com/v1/servicemonitors"


@pytest.fixture(scope="module")
def kubectl(control: ControlPlane) -> list[str]:
    require("kubectl", "monitoring.yaml")
    return [str(peer("kubectl")), f"--kubeconfig={control.kubeconfig('kubectl', token=ADMIN_TOKEN)}"]


def test_the_daemon_set_and_what_belongs_to_it(control: ControlPlane, kubectl: list[str]) -> None:
    """Applied strictly (an unknown field is an error) up to the point of storing, so that other tests don't meet it."""
    said = control.namespace.run(*kubectl, *APPLY, "-k", str(DEPLOY))
    assert [line.split()[0] for line in said.splitlines()] == [
        "serviceaccount/kproxy",
        "clusterrole.rbac.authorization.k8s.io/kproxy",
        "clusterrolebinding.rbac.authorization.k8s.io/kproxy",
        "configmap/kproxy",
        "daemonset.apps/kproxy",
    ]


def test_dns_by_itself(control: ControlPlane, kubectl: list[str]) -> None:
    said = control.namespace.run(*kubectl, *APPLY, "-k", str(DEPLOY / "dns"))
    assert [line.split()[0] for line in said.splitlines()] == ["daemonset.apps/kproxy-dns"]


def test_dns_is_told_what_it_knows() -> None:
    """Its arguments are right; the two Pods of an upgrade share no port, and a probe sees which of them is ready."""
    spec = yaml.safe_load((DEPLOY / "dns" / "daemonset.yaml").read_text())["spec"]
    [container] = spec["template"]["spec"]["containers"]
    verb, *words = container["args"]
    values = dns_command.make_context(verb, list(words)).params
    config = build_dns_config(flatten(values))
    assert [str(address) for address in config.addresses] == ["169.254.20.10:53", "10.96.0.10:53"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "ports" not in container
    assert container["startupProbe"]["exec"]["command"] == ["test", "-e", str(config.ready_file)]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    [volume] = [one for one in spec["template"]["spec"]["volumes"] if one["name"] == mounts["/run/kproxy"]]
    assert "emptyDir" in volume


def test_what_the_prometheus_operator_takes(control: ControlPlane, kubectl: list[str]) -> None:
    """With the Prometheus operator's own resource definitions."""
    definitions = str(peer("monitoring.yaml"))
    control.namespace.run(*kubectl, "apply", "--server-side", "-f", definitions)
    with control.api() as api:
        eventually(lambda: api.get(MONITORS).status == 200, "the API server serves ServiceMonitors")
    said = control.namespace.run(*kubectl, *APPLY, "-k", str(DEPLOY / "monitoring"))
    names = [line.split()[0] for line in said.splitlines()]
    assert names.pop(0).startswith("configmap/kproxy-dashboard-")
    assert names == [
        "service/kproxy",
        "service/kproxy-dns",
        "prometheusrule.monitoring.coreos.com/kproxy",
        "servicemonitor.monitoring.coreos.com/kproxy",
        "servicemonitor.monitoring.coreos.com/kproxy-dns",
    ]


def test_the_commands_of_the_page(control: ControlPlane, kubectl: list[str]) -> None:
    """docs/install.md, as written, but that nothing is stored."""
    programs = str(Path(kubectl[0]).parent)
    for command in commands("install.md", "in a cluster"):
        words = f"cd {DEPLOY.parent} && PATH={programs}:$PATH {command} --dry-run=server {kubectl[1]}"
        assert "(server dry run)" in control.namespace.run("sh", "-c", words)


def test_an_unknown_field_would_be_noticed(control: ControlPlane, kubectl: list[str], tmp_path: Path) -> None:
    text = (DEPLOY / "daemonset.yaml").read_text().replace("hostNetwork: true", "hostNetwerk: true")
    (tmp_path / "daemonset.yaml").write_text(text)
    command = [*kubectl, *APPLY, "-n", "kube-system"]
    with pytest.raises(Exception, match="hostNetwerk"):
        control.namespace.run(*command, "-f", str(tmp_path / "daemonset.yaml"))


def test_the_configuration_in_the_config_map_is_one() -> None:
    data = yaml.safe_load((DEPLOY / "configmap.yaml").read_text())["data"]
    settings = read_settings(data["config.conf"].encode())
    assert (settings.warnings, settings.without_effect) == ((), {})
    assert settings.values["kubeconfig"] == "/etc/kproxy/kubeconfig.conf"
    assert yaml.safe_load(data["kubeconfig.conf"])["kind"] == "Config"
