"""What is known of the cluster: the objects, as a worker that begins is told them, and which have no place in DNS.

They are kept encoded, which takes a fifth of the memory and is how they are sent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from kproxy.dns.feed import encode_object
from kproxy.dns.problems import problems_of
from kproxy.kube.credentials import find_credentials
from kproxy.kube.resources import ALL_ENDPOINT_SLICES, ALL_SERVICES, NAMESPACES, PODS
from kproxy.logs import log_some
from kproxy.sources.directory import ManifestDirectory
from kproxy.sources.kubernetes import KubernetesSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kproxy.dns.feed import Item
    from kproxy.dns.server.config import DnsConfig
    from kproxy.dns.zone_config import ZoneConfig
    from kproxy.errors import ObjectError
    from kproxy.sources.changes import Change

log = logging.getLogger(__name__)

KINDS: Final = ("Service", "EndpointSlice", "Endpoints", "Namespace", "Pod")


def open_source(config: DnsConfig) -> KubernetesSource | ManifestDirectory:
    """Return the source that a configuration names. Raises `SourceError`, also where credentials are missing."""
    if config.manifests is None:
        pods = (PODS,) if config.zone.pods == "verified" else ()
        slices = () if config.zone.no_endpoints else (ALL_ENDPOINT_SLICES,)
        resources = (ALL_SERVICES, *slices, NAMESPACES, *pods)
        return KubernetesSource(find_credentials(config.kubeconfig, config.master), "", resources=resources)
    return ManifestDirectory.given(config.manifests)


class Known:
    """The objects that DNS is made of, and what is refused of all that the source has."""

    def __init__(self, zone: ZoneConfig) -> None:
        self._zone = zone
        self._items: dict[tuple[str, str], Item] = {}
        self._unfit: dict[tuple[str, str], tuple[str, ...]] = {}
        self._said: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._items)

    def take(self, changes: Iterable[Change]) -> list[Item]:
        """Take in changes of `KINDS`, and return what workers are to be told."""
        items = [encode_object(change) for change in changes]
        for item in items:
            kind, key, data = item
            if data is None:
                self._items.pop((kind, key), None)
            else:
                self._items[kind, key] = item
        return items

    def everything(self) -> list[Item]:
        """Return all objects, for a worker that knows none."""
        return list(self._items.values())

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
        log_some(log, logging.ERROR, "refused: %s", [text for text in now if text not in self._said])
        self._said = now
        return len(now)
