"""Credentials that are not accepted any more, until others are put in their files: kproxy needs no restart for that.

As in all outages, something changes meanwhile, and the traffic notices nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.controlplane import Api, pki
from tests.controlplane.kubeconfig import write_whole
from tests.controlplane.outage import Recoveries, Tenants, new_agent, outage
from tests.lab.agent import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.controlplane import ControlPlane, FaultProxy
    from tests.lab import Cluster

pytestmark = pytest.mark.root

FAULTS_PORT = 7451
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
BINDING = {
    "metadata": {"name": "rotated"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "rotated"}],
}


@dataclass
class Lab:
    """What each of these tests works with. The proxy passes TLS on."""

    control: ControlPlane
    cluster: Cluster
    proxy: FaultProxy
    tenants: Tenants
    recoveries: Recoveries


@pytest.fixture(scope="module")
def tenants(control: ControlPlane, cluster: Cluster) -> Iterator[Tenants]:
    made = Tenants(control, cluster, "rotation")
    yield made
    made.close()


@pytest.fixture
def lab(control: ControlPlane, cluster: Cluster, tenants: Tenants, recoveries: Recoveries) -> Iterator[Lab]:
    with control.faults(terminate_tls=False, port=FAULTS_PORT) as proxy:
        yield Lab(control, cluster, proxy, tenants, recoveries)


class Rotation:
    """One kind of credentials: a kubeconfig that works, `spoil` makes it useless, `renew` puts others in its files."""

    name: str
    #: What the log says of the useless ones.
    trouble: str

    def __init__(self, control: ControlPlane, server: str, directory: Path) -> None:
        self.control, self.server, self.directory = control, server, directory

    def kubeconfig(self) -> Path:
        raise NotImplementedError

    def spoil(self) -> None:
        raise NotImplementedError

    def renew(self) -> None:
        raise NotImplementedError

    def undo(self) -> None:
        """Leave the control plane as it was."""


class Token(Rotation):
    name, trouble = "token rotated", "401 Unauthorized"

    def kubeconfig(self) -> Path:
        self.file = self.directory / "token"
        self.renew()
        return self.control.kubeconfig("rotated-token", token_file=self.file, server=self.server)

    def spoil(self) -> None:
        self.control.write_token(self.file, self.control.service_account_token(lifetime_s=-1))

    def renew(self) -> None:
        self.control.write_token(self.file, self.control.service_account_token())


class ClientCertificate(Rotation):
    """The first one's user loses its rights; the second one's has them."""

    name, trouble = "client certificate rotated", "403 Forbidden"

    def kubeconfig(self) -> Path:
        self.pair = self.control.client_certificate("rotated", "rotated")
        with self.control.api() as admin:
            admin.post(BINDINGS, BINDING).checked()
        eventually(lambda: self._status() == 200, "the user has its rights")
        return self.control.kubeconfig("rotated-certificate", certificate=self.pair, server=self.server)

    def spoil(self) -> None:
        with self.control.api() as admin:
            admin.request("DELETE", f"{BINDINGS}/rotated").checked()
        eventually(lambda: self._status() == 403, "the user has lost its rights")

    def renew(self) -> None:
        self.control.client_certificate("rotated", "system:kube-proxy")

    def _status(self) -> int:
        context = pki.client_context(self.control.authority.certificate, self.pair)
        with Api(self.control.namespace, (self.control.address, 6443), context) as api:
            return api.get("/api/v1/services?limit=1").status


class ServingCertificate(Rotation):
    """The server's new one is by another authority, which the client learns of later."""

    name, trouble = "serving certificate rotated", "certificate is not accepted"

    def kubeconfig(self) -> Path:
        self.file = self.directory / "trusted.crt"
        self.other = pki.Authority(self.directory, "other")
        write_whole(self.file, self.control.authority.certificate.read_text())
        token = self.control.service_account_token()
        return self.control.kubeconfig("rotated-ca", token=token, authority=self.file, server=self.server)

    def spoil(self) -> None:
        self.control.rotate_serving_certificate(self.other)
        eventually(lambda: self._trusts(self.other), "the new certificate is served")

    def renew(self) -> None:
        write_whole(self.file, self.other.certificate.read_text())

    def undo(self) -> None:
        self.control.rotate_serving_certificate()
        eventually(lambda: self._trusts(self.control.authority), "the old authority's certificate is served again")

    def _trusts(self, authority: pki.Authority) -> bool:
        context = pki.client_context(authority.certificate)
        with Api(self.control.namespace, (self.control.address, 6443), context) as api:
            try:
                return api.get("/version").status in (200, 401, 403)
            except OSError:
                return False


@pytest.mark.parametrize("kind", [Token, ClientCertificate, ServingCertificate], ids=lambda kind: kind.name)
def test_rotated_credentials_are_taken_up(kind: type[Rotation], lab: Lab, tmp_path: Path) -> None:
    rotation = kind(lab.control, lab.proxy.url, tmp_path)
    with new_agent(lab.cluster, rotation.kubeconfig()) as agent:
        agent.wait_ready()
        try:
            with outage(lab.tenants, lab.cluster, agent) as catch_up:
                lab.proxy.cut()
                lab.tenants.change()
                rotation.spoil()
                lab.proxy.heal()
                eventually(lambda: rotation.trouble in agent.log.read_text(), f"the log says {rotation.trouble}")
                rotation.renew()
                lab.recoveries.add(rotation.name, catch_up())
        finally:
            rotation.undo()
