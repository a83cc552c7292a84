"""The kubernetes package's client, with its connections made inside a namespace."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from kubernetes import client
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from tests.lab.run import scaled

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.namespace import Namespace

CONNECT_TIMEOUT_S = 5.0


def typed_client(namespace: Namespace, server: str, authority: Path, token: str) -> client.ApiClient:
    """An ApiClient for the typed APIs: `CoreV1Api(typed_client(...))`. Close it, or use it in a `with`."""
    configuration = client.Configuration()
    configuration.host = server
    configuration.ssl_ca_cert = str(authority)
    configuration.api_key = {"authorization": f"Bearer {token}"}
    made = client.ApiClient(configuration)
    made.rest_client.pool_manager.pool_classes_by_scheme = {"https": _pool_inside(namespace)}
    return made


def _pool_inside(namespace: Namespace) -> type[HTTPSConnectionPool]:
    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            sock = namespace.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.settimeout(scaled(CONNECT_TIMEOUT_S))
                sock.connect((self.host, self.port))
            except OSError as error:
                sock.close()
                raise NewConnectionError(self, str(error)) from error
            return sock

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool
