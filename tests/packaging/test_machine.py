"""The image and the units in use: built from the Dockerfile, run under a real systemd, with packets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging import layers, machine
from tests.packaging.dockerfile import read_dockerfile
from tests.packaging.layers import ROOT, build

pytestmark = pytest.mark.root
IMAGE = read_dockerfile((ROOT / "Dockerfile").read_text())

#: A pod of its own network namespace with a server in it, and a Service in front.
POD = """
set -eu
ip netns add pod
ip link add pod0 type veth peer name eth0 netns pod
ip link set lo up; ip addr add 10.244.0.1/24 dev pod0; ip link set pod0 up; ip route add default via 10.244.0.2
ip -n pod addr add 10.244.0.2/24 dev eth0; ip -n pod link set eth0 up; ip -n pod link set lo up
ip -n pod route add default via 10.244.0.1
mkdir -p /tmp/www; echo hello from the pod > /tmp/www/index.html
ip netns exec pod python3 -m http.server --directory /tmp/www 8080 > /dev/null 2>&1 &
until curl -sf -m 1 http://10.244.0.2:8080/ > /dev/null; do sleep 0.1; done
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ipFamilies: [IPv4], ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.0.2]}]
"""
ASK = "curl -sf -m 5 http://10.96.0.10/"
WITHOUT_ROOT = ROOT / "systemd/examples/nftables-without-root.conf"
#: Sysctls that only the machine's own network namespace has.
NO_SYSCTLS = " ".join(
    f"--conntrack-{name}=0" for name in ("max-per-core", "tcp-timeout-established", "tcp-timeout-close-wait")
)
FILES = {
    "/etc/kproxy/manifests/web.yaml": SERVICE,
    "/etc/default/kproxy": (ROOT / "systemd/examples/manifests.env").read_text()[:-2] + f' {NO_SYSCTLS}"\n',
}


@pytest.fixture(scope="module")
def image() -> list[Path]:
    """The layers of the Dockerfile's image."""
    layers.require()
    return build(IMAGE)


@pytest.fixture(scope="module")
def booting(image: list[Path]) -> list[Path]:
    return machine.with_systemd(image)


def test_the_service(booting: list[Path]) -> None:
    """Started means served; the watchdog ends a process that hangs; the rules stay; cleanup removes all of them."""
    script = f"""{POD}
mkdir -p /run/systemd/system/kproxy.service.d
printf '[Service]\\nWatchdogSec=2s\\n' > /run/systemd/system/kproxy.service.d/quick.conf
systemctl daemon-reload
systemctl start kproxy.service
echo "first answer: $({ASK})"
systemctl show -p ActiveState -p StatusText kproxy.service
kill -STOP "$(systemctl show -P MainPID kproxy.service)"
until [ "$(systemctl show -P NRestarts kproxy.service)" = 1 ]; do {ASK} > /dev/null; sleep 0.1; done
until [ "$(systemctl show -P ActiveState kproxy.service)" = active ]; do {ASK} > /dev/null; sleep 0.1; done
echo "answer after the watchdog: $({ASK})"
systemctl stop kproxy.service
echo "answer after the stop: $({ASK})"
systemctl start kproxy-cleanup.service
{ASK} && echo still there
iptables-nft-save; iptables-legacy-save; nft list ruleset
"""
    ran = machine.boot(booting, script, FILES)
    assert ran.status == 0, ran.output
    assert "first answer: hello from the pod" in ran.output
    assert "ActiveState=active" in ran.output
    assert "StatusText=Services at the first sync: 1" in ran.output
    assert "answer after the watchdog: hello from the pod" in ran.output
    assert "answer after the stop: hello from the pod" in ran.output
    assert "still there" not in ran.output
    assert "KUBE-SERVICES" not in ran.output
    assert "10.96.0.10" not in ran.output


def test_the_service_is_hardened(booting: list[Path]) -> None:
    ran = machine.boot(booting, "systemd-analyze security --no-pager kproxy.service", {})
    exposure = re.search(r"Overall exposure level for kproxy.service: ([0-9.]+)", ran.output)
    assert exposure, ran.output
    print(exposure[0])
    assert float(exposure[1]) <= 2.5, ran.output


def test_the_nftables_mode_runs_without_root(booting: list[Path]) -> None:
    files = {
        **FILES,
        "/etc/default/kproxy": FILES["/etc/default/kproxy"].replace("--manifests", "--proxy-mode=nftables --manifests"),
        "/etc/systemd/system/kproxy.service.d/without-root.conf": WITHOUT_ROOT.read_text(),
    }
    script = f"""{POD}
systemctl start kproxy.service
echo "answer: $({ASK})"
echo "user: $(ps -o user= -p "$(systemctl show -P MainPID kproxy.service)")"
grep CapEff "/proc/$(systemctl show -P MainPID kproxy.service)/status"
systemd-analyze security --no-pager kproxy.service | tail -1
systemctl start kproxy-cleanup.service; nft list tables
"""
    ran = machine.boot(booting, script, files)
    assert ran.status == 0, ran.output
    assert "answer: hello from the pod" in ran.output
    assert re.search(r"^user: (kproxy|6\d{4})$", ran.output, re.MULTILINE), "a dynamic user, by name or number"
    assert "CapEff:\t0000000000001000" in ran.output  # CAP_NET_ADMIN
    assert "table ip kproxy" not in ran.output
    exposure = re.search(r"exposure level for kproxy.service: ([0-9.]+)", ran.output)
    assert exposure, ran.output
    assert float(exposure[1]) < 2


def test_the_units_are_valid(booting: list[Path]) -> None:
    ran = machine.boot(booting, "systemd-analyze verify kproxy.service kproxy-cleanup.service", {})
    assert (ran.status, ran.output) == (0, "")


def test_it_is_tried_until_what_it_needs_is_there(booting: list[Path]) -> None:
    """After five failures in ten seconds systemd would leave a node without its proxy for good."""
    files = {name: text for name, text in FILES.items() if not name.startswith("/etc/kproxy/")}
    script = """
mkdir -p /run/systemd/system/kproxy.service.d
printf '[Service]\\nRestartSec=100ms\\n' > /run/systemd/system/kproxy.service.d/quick.conf
systemctl daemon-reload
systemctl start kproxy.service
state() { systemctl show -P "$1" kproxy.service; }
until [ "$(state NRestarts)" -ge 7 ] || [ "$(state ActiveState)" = failed ]; do sleep 0.05; done
mkdir -p /etc/kproxy/manifests
for _ in $(seq 200); do [ "$(state ActiveState)" = active ] && break; sleep 0.1; done
echo "in the end: $(state ActiveState)"
"""
    ran = machine.boot(booting, script, files)
    assert "in the end: active" in ran.output


def test_a_wrong_configuration_is_said_in_the_journal(booting: list[Path]) -> None:
    files = {"/etc/default/kproxy": 'KPROXY_ARGS="--manifests=/etc/kproxy --oom-score-adj=5000"'}
    script = "systemctl start kproxy.service; journalctl -o cat -u kproxy.service --no-pager"
    ran = machine.boot(booting, script, files)
    assert "kproxy: --oom-score-adj: 5000 is not in range - it takes -1000 to 1000" in ran.output


def test_the_image_answers_to_kube_proxy_s_command_line(image: list[Path]) -> None:
    """As in kube-proxy's DaemonSet: its file, its flags, a read-only root, and after --init-only two capabilities."""
    configuration = (ROOT / "tests/settings/kubeadm.yaml").read_text()
    for field, nothing in (("maxPerCore", "0"), ("tcpCloseWaitTimeout", "0s"), ("tcpEstablishedTimeout", "0s")):
        configuration = configuration.replace(f"{field}: null", f"{field}: {nothing}")
    configuration = configuration.replace("/var/lib/kube-proxy/kubeconfig.conf", "")
    files = {
        "/var/lib/kube-proxy/config.conf": f"{configuration}---\napiVersion: kproxy.dev/v1alpha1\n"
        "kind: KproxyConfiguration\nmanifests: /etc/kproxy/manifests\n",
        "/etc/kproxy/manifests/web.yaml": SERVICE,
    }
    command = "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=node-a"
    script = f"""
{command} --init-only || exit 1
setpriv --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all {command} > /tmp/log 2>&1 &
until iptables-save 2> /dev/null | grep -q 10.96.0.10; do kill -0 $! || break; sleep 0.1; done
iptables-save -t nat | grep -e '-d 10.96.0.10/32' | head -1
touch /file 2>&1
kill $!; wait $!; cat /tmp/log
"""
    ran = machine.run(image, script, files)
    assert ran.status == 0, ran.output
    assert "-d 10.96.0.10/32" in ran.output
    assert "Read-only file system" in ran.output
    assert "stopped; the rules stay" in ran.output


def test_the_image_s_default_command(image: list[Path]) -> None:
    words = " ".join((*IMAGE.entrypoint, *IMAGE.command))
    ran = machine.run(image, f"{words} --version; {words}", {})
    assert ran.output.startswith("kproxy ")
    assert "Traceback" not in ran.output


def mounts() -> list[str]:
    """Those of this host, but for the network namespaces of labs, which come and go beside this test."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if "/kplab-" not in line]


def test_nothing_is_left_of_a_machine(booting: list[Path]) -> None:
    before = mounts()
    machine.boot(booting, "true", {})
    assert mounts() == before
    assert not subprocess.run(["pgrep", "-f", "kproxy-machine-"], capture_output=True).stdout
