"""One process's view of the cluster: which pods there are, and its API server.

aiohttp is imported only if needed: it takes 13 MiB.
"""

import os
from time import monotonic
from typing import TYPE_CHECKING

from gateway.kubernetes.directory import Directory
from gateway.settings.sections.identity import KubernetesSettings

if TYPE_CHECKING:
    from gateway.kubernetes.api_client import ApiClient
    from gateway.kubernetes.watching import ClusterWatch


class Cluster:
    """`directory` is None where pods are not used."""

    def __init__(self, settings: KubernetesSettings | None = None, directory: Directory | None = None) -> None:
        self._settings = settings or KubernetesSettings()
        self._api: ApiClient | None = None
        self.directory = directory

    @property
    def api(self) -> "ApiClient":
        """Made when it is first needed."""
        if self._api is None:
            self._api = build_api_client(self._settings)
        return self._api

    async def close(self) -> None:
        """Idempotent."""
        if self._api is not None:
            await self._api.close()


def build_api_client(settings: KubernetesSettings) -> "ApiClient":
    """At the address in the settings, else at the one that every pod finds in its environment."""
    from gateway.kubernetes.api_client import Access, ApiClient, access_from_inside  # noqa: PLC0415  # see above

    if settings.server is not None:
        return ApiClient(Access(settings.server.rstrip("/"), settings.ca, settings.token_file))
    inside = access_from_inside(os.environ)
    return ApiClient(Access(inside.url, settings.ca or inside.ca, settings.token_file or inside.token_file))


def build_directory(settings: KubernetesSettings) -> Directory:
    """For a process that gets the cluster's state from another process."""
    return Directory(monotonic, settings.stale_after)


def build_watching(settings: KubernetesSettings) -> "ClusterWatch":
    """For the process that watches for all others."""
    from gateway.kubernetes.watching import ClusterWatch  # noqa: PLC0415  # see above

    return ClusterWatch(build_api_client(settings), settings.stale_after)
