"""The control plane as one thing: etcd, kube-apiserver, on request kube-controller-manager; credentials for all."""

from __future__ import annotations

import contextlib
import http.client
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.controlplane import etcd, kubeconfig, pki, tokens
from tests.controlplane.faults import FaultProxy
from tests.controlplane.https import Api
from tests.controlplane.typed import typed_client
from tests.lab.addresses import Host, Plan, on_underlay, small_cluster
from tests.lab.agent import eventually
from tests.lab.program import Program
from tests.peers import peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubernetes import client

    from tests.lab import Cluster, Namespace

HOST = "control"
PORT, FAULTS_PORT = 6443, 7443
READY_WITHIN_S, GOODBYE_S = 60.0, 3.0
ADMIN_TOKEN, KUBE_PROXY_TOKEN = "admin-token", "kube-proxy-token"
#: Static tokens: the administrator, and the user to whom the API server itself grants what kube-proxy needs.
USERS = f'{ADMIN_TOKEN},admin,1,"system:masters"\n{KUBE_PROXY_TOKEN},system:kube-proxy,2\n'
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/108")
#: What the serving certificate is for, besides the control plane's own address: itself, and the Service `kubernetes`.
SERVER_IPS, SERVER_HOSTS = ("127.0.0.1", "10.96.0.1"), ("kubernetes.default.svc",)
#: No other one takes turns with it, and nobody asks it anything.
ALONE = ("--leader-elect=false", "--secure-port=0")
#: The lab's health-check node ports are below the usual range.
NODE_PORTS = "20000-32767"
RBAC = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
#: Where an object of a kind of rbac.yaml is created.
COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def plan_with_control_plane(plan: Plan | None = None) -> Plan:
    """A plan with one more host on the underlay, for the control plane."""
    return Plan((*(plan or small_cluster()).hosts, Host(HOST, "client", on_underlay(200))))


class ControlPlane:
    """Use as a context manager: inside, the API server is ready; RuntimeError when it does not come up.

    With `service_accounts` Pods get the tokens of theirs, which must be there; for clusters where Pods really run.
    `authority` signs the server's certificate and those of clients; `directory` is for files that go with the lab.
    `flags` are more arguments for kube-apiserver: with `--feature-gates=WatchList=false` it is as an older server. Over
    an `etcd_program` before 3.4.31 (Debian's), which cannot say how far a watch has come, it refuses streamed lists by
    an ERROR event with code 500, and a watch without a resourceVersion says nothing for 3 s and ends.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        *,
        flags: Sequence[str] = (),
        etcd_program: Path | None = None,
        service_accounts: bool = False,
    ) -> None:
        self.namespace = namespace
        self.address = address
        self.directory = namespace.run_of.directory / f"control-plane-{namespace.role}"
        self._flags = tuple(flags)
        self._etcd = etcd_program
        self._service_accounts = service_accounts
        self._controllers: Program | None = None
        self._scheduler: Program | None = None

    @classmethod
    def of(cls, cluster: Cluster, **options: Any) -> ControlPlane:
        """On the host that plan_with_control_plane() adds; options as for the class."""
        return cls(cluster.namespaces[HOST], cluster.address(HOST, "ipv4"), **options)

    def __enter__(self) -> ControlPlane:
        self.directory.mkdir()
        argv = etcd.etcd_argv(self._etcd or peer("etcd"), self.directory / "etcd")
        self.etcd = Program(self.namespace, argv, self.directory / "etcd.log")
        self.etcd.start()
        self._make_credentials()
        self.api_server = Program(self.namespace, self._argv(), self.directory / "kube-apiserver.log")
        self._admin = self.api()
        try:
            self.start_api_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End everything. Nothing is kept, so nothing is ended gracefully."""
        self._admin.close()
        for program in (self._scheduler, self._controllers, self.api_server, self.etcd):
            if program:
                program.kill()

    # --- the programs -----------------------------------------------------------------------------------------

    @property
    def server(self) -> str:
        return f"https://{self.address}:{PORT}"

    def start_api_server(self) -> None:
        """Start it and wait until it is ready; what was stored is there again."""
        self.api_server.start()
        eventually(self._is_ready, "the API server is ready", READY_WITHIN_S, pause_s=0.1)

    def stop_api_server(self, *, kill: bool = False) -> None:
        """Without `kill` it closes its port and idle connections first, and watches a little later, with the process.

        It would wait a minute for watches to end by themselves, which they don't.
        """
        if kill:
            self.api_server.kill()
        else:
            self.api_server.stop(timeout_s=GOODBYE_S)

    def restart_api_server(self, *, kill: bool = False) -> None:
        self.stop_api_server(kill=kill)
        self.start_api_server()

    def start_controllers(self, *names: str) -> None:
        """Start kube-controller-manager with the named controllers, in place of one that runs.

        What they do comes a second or two later.
        """
        if self._controllers is not None:
            self._controllers.stop()
        log = self.directory / "kube-controller-manager.log"
        config = self.kubeconfig("controllers", token=ADMIN_TOKEN)
        wanted = f"--controllers={','.join(names or ('endpointslice-controller',))}"
        authority = f"--root-ca-file={self.authority.certificate}"
        argv: list[str | Path] = [peer("kube-controller-manager"), "--kubeconfig", config, wanted, authority]
        self._controllers = Program(self.namespace, [*argv, *ALONE], log)
        self._controllers.start()

    def start_scheduler(self) -> None:
        """Start kube-scheduler, for Pods that are to run on a kubelet."""
        config = self.kubeconfig("scheduler", token=ADMIN_TOKEN)
        argv: list[str | Path] = [peer("kube-scheduler"), "--kubeconfig", config, *ALONE]
        self._scheduler = Program(self.namespace, argv, self.directory / "kube-scheduler.log")
        self._scheduler.start()

    def compact(self) -> int:
        """Compact etcd at its present revision, which is returned.

        The API server still has the latest changes in memory: a watch from an earlier revision fails with 410 once
        it has been restarted too.
        """
        return etcd.compact(self.namespace)

    def faults(self, *, terminate_tls: bool = True, port: int = FAULTS_PORT) -> FaultProxy:
        """A proxy to the API server that can be told to fail, not started yet; reached at `proxy.url`.

        With `terminate_tls` it sees HTTP, so faults can be placed in the middle of a line, and only tokens are of use
        to clients; without, it passes TLS on, client certificates too.
        """
        contexts = (pki.server_context(self._serving), pki.client_context(self.authority.certificate))
        tls = contexts if terminate_tls else None
        return FaultProxy(self.namespace, (self.address, port), (self.address, PORT), tls=tls)

    # --- credentials ------------------------------------------------------------------------------------------

    def api(self, token: str = ADMIN_TOKEN) -> Api:
        """A connection for plain requests; an empty token is an anonymous client."""
        return Api(self.namespace, (self.address, PORT), pki.client_context(self.authority.certificate), token)

    def typed(self, token: str = ADMIN_TOKEN) -> client.ApiClient:
        """The kubernetes package's client."""
        return typed_client(self.namespace, self.server, self.authority.certificate, token)

    def kubeconfig(
        self,
        name: str,
        *,
        token: str = "",
        token_file: Path | None = None,
        certificate: pki.Pair | None = None,
        server: str = "",
        authority: Path | None = None,
    ) -> Path:
        """Write NAME.kubeconfig for one way to log in. `server` may be a fault proxy's URL."""
        user: dict[str, Any] = kubeconfig.token_user(token)
        if token_file:
            user = kubeconfig.token_file_user(token_file)
        elif certificate:
            user = kubeconfig.certificate_user(certificate)
        path = self.directory / f"{name}.kubeconfig"
        return kubeconfig.write_kubeconfig(path, server or self.server, authority or self.authority.certificate, user)

    def install_rbac(self) -> None:
        """Create what deploy/rbac.yaml holds, as it is."""
        for document in yaml.safe_load_all(RBAC.read_text()):
            path = COLLECTIONS[document["kind"]].format(namespace=document["metadata"].get("namespace", ""))
            self._admin.post(path, document).checked()

    def service_account_token(
        self, name: str = "kproxy", namespace: str = "kube-system", lifetime_s: float = 3600
    ) -> str:
        """A token of an existing ServiceAccount, as long or short lived as wanted."""
        account = self._admin.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}").checked()
        key = self.directory / "sa.key"
        return tokens.service_account_token(key, namespace, name, account["metadata"]["uid"], lifetime_s)

    def write_token(self, path: Path, token: str) -> None:
        """Put a token into a file in one step: rotation, as a kubelet does it."""
        kubeconfig.write_whole(path, token)

    def rotate_serving_certificate(self, authority: pki.Authority | None = None) -> None:
        """Give the API server a new certificate, by another authority if given. It reads it without a restart."""
        made = (authority or self.authority).server("serving", (*SERVER_IPS, self.address), SERVER_HOSTS)
        made.replace(self._serving)

    def client_certificate(self, name: str, user: str, groups: Iterable[str] = ()) -> pki.Pair:
        """A certificate with which a client is `user`; made again under the same name it is a rotation."""
        return self.authority.client(name, user, groups)

    # --- inside -----------------------------------------------------------------------------------------------

    def _make_credentials(self) -> None:
        (self.directory / "tokens.csv").write_text(USERS)
        with ThreadPoolExecutor(1) as pool:
            key = pool.submit(tokens.make_key, self.directory / "sa.key", self.directory / "sa.pub")
            self.authority = pki.Authority(self.directory)
            self._serving = self.authority.server("serving", (*SERVER_IPS, self.address), SERVER_HOSTS)
            key.result()

    def _argv(self) -> list[str | Path]:
        there = self.directory
        return [
            peer("kube-apiserver"),
            f"--etcd-servers={etcd.URL}",
            f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
            f"--service-node-port-range={NODE_PORTS}",
            f"--service-account-issuer={tokens.ISSUER}",
            f"--service-account-key-file={there / 'sa.pub'}",
            f"--service-account-signing-key-file={there / 'sa.key'}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--token-auth-file={there / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged",
            # No controller makes the default ServiceAccount that Pods would need.
            *([] if self._service_accounts else ["--disable-admission-plugins=ServiceAccount"]),
            "--bind-address=0.0.0.0",
            f"--advertise-address={self.address}",
            f"--secure-port={PORT}",
            *self._flags,
        ]

    def _is_ready(self) -> bool:
        self.etcd.check()
        self.api_server.check()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self._admin.get("/readyz").status == 200
        return False
