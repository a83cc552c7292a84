"""DNS as a service of its own under a real systemd: with few rights, and from one instance to the next without loss."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.packaging import layers, machine
from tests.packaging.dockerfile import read_dockerfile
from tests.packaging.layers import ROOT, build

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.2]}]
"""
MANIFESTS = "/etc/kproxy/manifests"
FILES = {
    f"{MANIFESTS}/db.yaml": HEADLESS,
    "/etc/default/kproxy-dns": (ROOT / "systemd/examples/dns.env").read_text(),
    "/ask.py": r"""
import socket, struct, sys, time

QUERY = b"\1\0\0\1\0\0\0\0\0\0" + b"\2db\4shop\3svc\7cluster\5local\0" + b"\0\1\0\1"


def ask(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect(("169.254.20.10", 53))
        sock.send(struct.pack("!H", number & 0xFFFF) + QUERY)
        return socket.inet_ntoa(sock.recv(512)[-4:])


asked = lost = 0
until = time.monotonic() + float(sys.argv[1])
while not asked or time.monotonic() < until:
    asked += 1
    try:
        lost += ask(asked) != "10.244.0.2"
    except OSError:
        lost += 1
    time.sleep(0.001)
print(f"asked {'often' if asked > 500 else asked}, lost {lost}")
""",
}


@pytest.fixture(scope="module")
def image() -> list[Path]:
    layers.require()
    return build(read_dockerfile((ROOT / "Dockerfile").read_text()))


@pytest.fixture(scope="module")
def booting(image: list[Path]) -> list[Path]:
    return machine.with_systemd(image)


def test_one_instance_takes_over_from_another(booting: list[Path]) -> None:
    script = """
ip link set lo up
systemctl start kproxy-dns@1.service
python3 /ask.py 0
systemctl show -p ActiveState -p StatusText kproxy-dns@1.service
pid=$(systemctl show -P MainPID kproxy-dns@1.service)
echo "user: $(ps -o user= -p "$pid")"; grep CapEff "/proc/$pid/status"
python3 /ask.py 8 & load=$!
systemctl start kproxy-dns@2.service && systemctl stop kproxy-dns@1.service
wait $load
until curl -sf http://127.0.0.1:9153/ready; do sleep 0.1; done
systemctl show -p ActiveState kproxy-dns@1.service kproxy-dns@2.service
systemctl stop kproxy-dns@2.service
echo "left: $(ip -br address | xargs) $(nft list tables | xargs)"
journalctl -o cat -u 'kproxy-dns@*' --no-pager
"""
    ran = machine.boot(booting, script, FILES)
    assert ran.status == 0, ran.output
    assert ran.output.startswith("asked 1, lost 0\nStatusText=every name is answered for\nActiveState=active\n")
    assert re.search(r"^user: (kproxy-dns|6\d{4})$", ran.output, re.MULTILINE), "a dynamic user, by name or number"
    assert "CapEff:\t0000000000001400" in ran.output  # CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
    assert "asked often, lost 0\nOK\nActiveState=inactive\n\nActiveState=active\n" in ran.output
    left = next(line for line in ran.output.splitlines() if line.startswith("left: "))
    assert "169.254.20.10" not in left
    assert "kproxy-dns" not in left
    assert "Traceback" not in ran.output


def test_the_watchdog_ends_a_service_that_hangs(booting: list[Path]) -> None:
    script = """
ip link set lo up
mkdir -p /run/systemd/system/kproxy-dns@.service.d
printf '[Service]\\nWatchdogSec=2s\\n' > /run/systemd/system/kproxy-dns@.service.d/quick.conf
systemctl daemon-reload
systemctl start kproxy-dns@1.service
kill -STOP "$(systemctl show -P MainPID kproxy-dns@1.service)"
python3 /ask.py 0
until [ "$(systemctl show -P NRestarts kproxy-dns@1.service)" = 1 ]; do sleep 0.1; done
until [ "$(systemctl show -P ActiveState kproxy-dns@1.service)" = active ]; do sleep 0.1; done
python3 /ask.py 0
"""
    ran = machine.boot(booting, script, FILES)
    assert (ran.status, ran.output) == (0, "asked 1, lost 0\n" * 2)


def test_it_is_valid_and_hardened(booting: list[Path]) -> None:
    script = "systemd-analyze verify kproxy-dns@1.service && systemd-analyze security --no-pager kproxy-dns@1.service"
    ran = machine.boot(booting, script, FILES)
    assert ran.status == 0, ran.output
    exposure = re.search(r"Overall exposure level for kproxy-dns@1.service: ([0-9.]+)", ran.output)
    assert exposure, ran.output
    print(exposure[0])
    assert float(exposure[1]) <= 1.8


def test_two_pods_of_the_daemon_set(image: list[Path]) -> None:
    """As deploy/dns runs them, but for where the objects are from: what an upgrade does, with a load running."""
    pod = yaml.safe_load((ROOT / "deploy/dns/daemonset.yaml").read_text())["spec"]["template"]["spec"]
    [container] = pod["containers"]
    capabilities = ",".join(f"+{name.lower()}" for name in container["securityContext"]["capabilities"]["add"])
    arguments = " ".join(container["args"]).replace(
        "--kubeconfig=/etc/kproxy/kubeconfig.conf", f"--manifests={MANIFESTS}"
    )
    script = f"""
pod() {{
  mkdir -p /run/$1
  exec setpriv --bounding-set=-all,{capabilities} --inh-caps=-all \
    /usr/local/bin/kproxy $(echo "{arguments}" | sed s,/run/kproxy,/run/$1,) > /tmp/$1 2>&1
}}
pod one & one=$!
until [ -e /run/one/ready ]; do kill -0 $one || exit 1; sleep 0.1; done
python3 /ask.py 8 & load=$!
sleep 1
pod two & two=$!
until [ -e /run/two/ready ]; do kill -0 $two || exit 1; sleep 0.1; done
kill $one; wait $one; echo "the first ended with $?"
wait $load
kill $two; wait $two
ls /run/one /run/two
cat /tmp/one /tmp/two
"""
    ran = machine.run(image, script, FILES)
    assert ran.status == 0, ran.output
    assert "the first ended with 0\nasked often, lost 0\n/run/one:\n\n/run/two:\n" in ran.output
    assert "queries for 169.254.20.10, 10.96.0.10 are answered here" in ran.output


def test_a_port_that_is_taken_is_said_in_the_journal(booting: list[Path]) -> None:
    files = {**FILES, "/etc/default/kproxy-dns": 'KPROXY_DNS_ARGS="--manifests=/etc --dns-bind-address=127.0.0.1:53"'}
    hold = "import socket, time; s = socket.create_server(('127.0.0.1', 53)); print(flush=True); time.sleep(99)"
    script = f"""
ip link set lo up
coproc python3 -c "{hold}"
read -u "${{COPROC[0]}}"
systemctl start --no-block kproxy-dns@1.service
until journalctl -o cat -u kproxy-dns@1.service --no-pager | grep -m 1 "^kproxy:"; do sleep 0.1; done
kill $COPROC_PID
"""
    ran = machine.boot(booting, script, files)
    assert "kproxy: --dns-bind-address: can't listen on 127.0.0.1:53 (TCP): it is taken" in ran.output
