"""The zone that is asked for, and the questions: what pods ask of a cluster with a search list in their resolv.conf."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.controlplane import bulk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.controlplane.control_plane import ControlPlane

NAMESPACE = bulk.NAMESPACE
DOMAIN = "cluster.local"
HERE = f"{NAMESPACE}.svc.{DOMAIN}"
OUTSIDE = ("www.example.com", "api.example.org", "registry.example.net")
SEARCH = (HERE, f"svc.{DOMAIN}", DOMAIN)


def create(control: ControlPlane, services: int, headless: int, endpoints: int, *, first: int = 0) -> None:
    """Create Services with a clusterIP and a slice each, and headless Services of so many named endpoints each."""
    bulk.create_services(control, services, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _headless(control, number, endpoints), range(first, first + headless)))


def change(control: ControlPlane, number: int, endpoints: int, generation: int) -> None:
    """Give a headless Service other endpoints; when this returns the API server has them."""
    with control.api() as api:
        made = headless_slice(number, endpoints, generation)
        api.request("PUT", f"{bulk.slices_path()}/{made['metadata']['name']}", made).checked()


def headless_slice(number: int, endpoints: int, generation: int = 0) -> dict[str, Any]:
    """The slice of a headless Service: `db-N` has the endpoints `db-N-0`, ..."""
    first = number * endpoints + generation * 2_000
    return {
        "metadata": {"name": f"db-{number}-1", "labels": {"kubernetes.io/service-name": f"db-{number}"}},
        "addressType": "IPv4",
        "ports": [{"name": "pg", "protocol": "TCP", "port": 5432}],
        "endpoints": [
            {"addresses": [address(first + i)], "hostname": f"db-{number}-{i}", "conditions": {"ready": True}}
            for i in range(endpoints)
        ],
    }


def address(number: int) -> str:
    """Addresses from 10.192.0.0 up."""
    return f"10.{192 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def write_questions(path: Path, services: int, headless: int, endpoints: int, *, count: int = 100_000) -> None:
    """Write dnsperf's input: 70 % NXDOMAIN by search lists, 15 % clusterIPs, 10 % headless, 5 % outside names."""
    chance = random.Random(1)

    def missing() -> str:
        name = chance.choice([f"svc-{chance.randrange(services)}.{NAMESPACE}", *OUTSIDE])
        suffix = chance.choice([SEARCH[0], SEARCH[2]] if name.startswith("svc") else SEARCH)
        return f"{name}.{suffix}. {chance.choice(['A', 'AAAA'])}"

    def cluster_ip() -> str:
        return f"svc-{chance.randrange(services)}.{HERE}. {chance.choice(['A', 'AAAA'])}"

    def database() -> str:
        number = chance.randrange(headless)
        pod = chance.choice(["", f"db-{number}-{chance.randrange(endpoints)}."])
        return f"{pod}db-{number}.{HERE}. A"

    def outside() -> str:
        return f"{chance.choice(OUTSIDE)}. A"

    kinds = chance.choices([missing, cluster_ip, database, outside], [70, 15, 10, 5], k=count)
    path.write_text("".join(f"{kind()}\n" for kind in kinds), encoding="ascii")


def _headless(control: ControlPlane, number: int, endpoints: int) -> None:
    ports = [{"name": "pg", "protocol": "TCP", "port": 5432}]
    service = {"metadata": {"name": f"db-{number}"}, "spec": {"clusterIP": "None", "ports": ports}}
    with control.api() as api:
        api.post(f"/api/v1/namespaces/{NAMESPACE}/services", service).checked()
        api.post(bulk.slices_path(), headless_slice(number, endpoints)).checked()
