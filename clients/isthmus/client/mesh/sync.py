"""Calls for the mesh itself, for threads and scripts."""

from __future__ import annotations

from isthmus.client.calls import Calls
from isthmus.client.mesh import plan
from isthmus.client.mesh.results import Status

__all__ = ["MeshCalls"]


class MeshCalls(Calls):
    """Calls of `Client` for the mesh itself."""

    def status(self, *, timeout_s: float | None = None) -> Status:
        """Return what the mesh is made of and how it is.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.status(self._planner), timeout_s)
