"""How a virtual server chooses: the scheduler of the flag or the Service's annotation, and session affinity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.plan.ipvs.server import Flag, Scheduling

if TYPE_CHECKING:
    from kproxy.state.service import ServicePort

DEFAULT_SCHEDULER = "rr"
# kube-proxy: mh hashes the client's port too, so that one client's connections are spread.
_FLAGS = {"mh": Flag.SOURCE_PORT}


def scheduling(port: ServicePort, default: str) -> Scheduling:
    """Return how the virtual servers of a service port choose; `default` is the scheduler of the flag.

    Session affinity is persistence for a client's whole address.
    """
    scheduler = port.ipvs_scheduler or default
    flags = int(_FLAGS.get(scheduler, 0))
    if port.affinity_seconds is None:
        return Scheduling(scheduler, flags, 0, port.family.bits)
    return Scheduling(scheduler, flags | Flag.PERSISTENT, port.affinity_seconds, port.family.bits)
