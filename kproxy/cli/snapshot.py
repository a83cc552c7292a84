"""The cluster as a source has it now: for verbs that look once, and change nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kproxy.errors import SourceError
from kproxy.kube.credentials import find_credentials
from kproxy.sources.directory import ManifestDirectory
from kproxy.sources.kubernetes import KubernetesSource
from kproxy.state.cluster import ClusterState
from kproxy.threads import run_loop

if TYPE_CHECKING:
    from kproxy.config import Config
    from kproxy.sources.changes import ChangeBatch

PATIENCE_S = 15.0
"""How long the API server may take; the agent would wait for ever."""


def snapshot(config: Config) -> tuple[ClusterState, ChangeBatch]:
    """Read everything once, from the manifests or the API; return the state, and the batch for its problems.

    Raises `SourceError`.
    """
    state = ClusterState(
        config.node_name, bind_address=config.bind_address, external_ips_allowed=config.external_ips_allowed
    )
    if config.manifests is not None:
        batch = ManifestDirectory(config.manifests).read_once()
    else:
        source = KubernetesSource(find_credentials(config.kubeconfig, config.master), config.node_name, node_wait_s=0)
        batch = run_loop(_first(source))
    state.apply(batch.changes)
    return state, batch


async def _first(source: KubernetesSource) -> ChangeBatch:
    changes = source.changes()
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await anext(changes)
    except TimeoutError:
        why = "; ".join(source.troubles()) or "no answer"
        raise SourceError(f"the API server: {why}", remedy="see --kubeconfig and --master") from None
    finally:
        await changes.aclose()
