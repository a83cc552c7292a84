"""A real control plane with thousands of objects, and for each run a node of its own that reaches it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bench.workload import NODE
from tests.controlplane import ControlPlane, create_services
from tests.lab import Namespace, Run

if TYPE_CHECKING:
    from types import TracebackType

CONTROL = "10.9.0.1"


@dataclass(frozen=True, slots=True)
class Node:
    """A node without any rules. In `pods` everybody in 10.128.0.0/9 is at home."""

    namespace: Namespace
    pods: Namespace
    address: str


class ApiLab:
    """Use as a context manager: inside, the API server holds `services` Services with `endpoints` endpoints each.

    Number n is as `tests.controlplane.bulk` says. `node()` makes a node without any rules.
    """

    def __init__(self, services: int, endpoints: int) -> None:
        self.services = services
        self.endpoints = endpoints
        self._nodes = 0
        self._run = Run()

    def __enter__(self) -> Self:
        self._run.__enter__()
        try:
            self._control = Namespace(self._run, "control")
            bridge = ("link add br0 type bridge", f"address add {CONTROL}/16 dev br0", "link set br0 up")
            _ip(self._control, "link set lo up", *bridge)
            self.plane = ControlPlane(self._control, CONTROL)
            self.plane.__enter__()
            self._run.on_close(self.plane.stop)
            self.plane.install_rbac()
            self._create_objects()
        except BaseException:
            self._run.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.close()

    def node(self) -> Node:
        """Make a node of its own for one run."""
        self._nodes += 1
        number = self._nodes
        node, pods = Namespace(self._run, f"node{number}"), Namespace(self._run, f"pods{number}")
        address = f"10.9.1.{number}"
        _ip(
            self._control,
            f"link add node{number} type veth peer name eth0 netns {node.path}",
            f"link set node{number} master br0 up",
        )
        _ip(
            node,
            *("link set lo up", f"address add {address}/16 dev eth0", "link set eth0 up"),
            f"route add default via {CONTROL}",
            f"link add pods type veth peer name eth0 netns {pods.path}",
            *("address add 10.8.0.1/24 dev pods", "link set pods up"),
        )
        _ip(
            pods,
            *("link set lo up", "address add 10.8.0.2/24 dev eth0", "link set eth0 up"),
            *("route add local 10.128.0.0/9 dev lo", "route add default via 10.8.0.1"),
        )
        _ip(node, "route add 10.128.0.0/9 via 10.8.0.2")
        return Node(node, pods, address)

    def _create_objects(self) -> None:
        with self.plane.api() as api:
            status = {"addresses": [{"type": "InternalIP", "address": "10.9.1.1"}]}
            api.post("/api/v1/nodes", {"metadata": {"name": NODE}, "status": status}).checked()
        create_services(self.plane, self.services, self.endpoints)


def _ip(namespace: Namespace, *commands: str) -> None:
    for command in commands:
        namespace.run("ip", *command.split())
