"""What is known of the cluster: the objects, as a worker that begins is told them, and which have no place in DNS."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from kproxy.dns.problems import problems_of
from kproxy.errors import SourceError
from kproxy.kube.credentials import find_credentials
from kproxy.kube.resources import ALL_ENDPOINT_SLICES, ALL_SERVICES, NAMESPACES, PODS
from kproxy.sources.changes import Change
from kproxy.sources.directory import ManifestDirectory
from kproxy.sources.kubernetes import KubernetesSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.server.config import DnsConfig
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.errors import ObjectError
    from kproxy.kube.wire import KubeObject

log = logging.getLogger(__name__)

KINDS: Final = ("Service", "EndpointSlice", "Endpoints", "Namespace", "Pod")
SHOWN: Final = 20
"""Refused objects that are named at a time."""


def open_source(config: DnsConfig) -> KubernetesSource | ManifestDirectory:
    """Return the source that a configuration names. Raises `SourceError`, also where credentials are missing."""
    if config.manifests is None:
        pods = (PODS,) if config.zone.pods == "verified" else ()
        slices = () if config.zone.no_endpoints else (ALL_ENDPOINT_SLICES,)
        resources = (ALL_SERVICES, *slices, NAMESPACES, *pods)
        return KubernetesSource(find_credentials(config.kubeconfig, config.master), "", resources=resources)
    if not config.manifests.is_dir():
        raise SourceError(f"--manifests {config.manifests}: no such directory", remedy="create it, or name another")
    return ManifestDirectory(config.manifests)


class Known:
    """The objects that DNS is made of, and what is refused of all that the source has."""

    def __init__(self, zone: ZoneConfig) -> None:
        self._zone = zone
        self._objects: dict[tuple[str, str], KubeObject] = {}
        self._unfit: dict[tuple[str, str], tuple[str, ...]] = {}
        self._said: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def take(self, changes: Iterable[Change]) -> list[Change]:
        """Take changes in, and return those that concern DNS."""
        ours = [change for change in changes if change.kind in KINDS]
        for change in ours:
            if change.obj is None:
                self._objects.pop((change.kind, change.key), None)
            else:
                self._objects[change.kind, change.key] = change.obj
        return ours

    def everything(self) -> list[Change]:
        """Return all objects, as changes to nothing."""
        return [Change(kind, key, obj) for (kind, key), obj in self._objects.items()]

    def judge(self, changes: Iterable[Change], problems: Iterable[ObjectError]) -> int:
        """Log what is refused that was not before, and return how much there is of it at present.

        `problems` are the source's, all of them; what has no place in DNS is found out of the changes.
        """
        for change in changes:
            self._unfit.pop((change.kind, change.key), None)
            if found := problems_of(change, self._zone):
                self._unfit[change.kind, change.key] = found
        unfit = [text for _, texts in sorted(self._unfit.items()) for text in texts]
        now = dict.fromkeys([*(str(problem) for problem in problems), *unfit])
        new = [text for text in now if text not in self._said]
        for text in new[:SHOWN]:
            log.error("refused: %s", text)
        if len(new) > SHOWN:
            log.error("refused: ... and %d more", len(new) - SHOWN)
        self._said = now
        return len(now)
