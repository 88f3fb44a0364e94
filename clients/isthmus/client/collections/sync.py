"""Calls for collections, for threads and scripts."""

from __future__ import annotations

from isthmus.client.calls import Calls
from isthmus.client.collections import plan
from isthmus.client.collections.results import Collection, IndexKind
from isthmus.client.inputs import GuardLimits

__all__ = ["CollectionCalls"]


class CollectionCalls(Calls):
    """Calls of `Client` for collections."""

    def create_collection(
        self,
        name: str,
        *,
        image_space: str = "",
        text_space: str = "",
        image_dimension: int = 0,
        text_dimension: int = 0,
        aligner: str = "",
        store_thumbnails: bool = False,
        index: IndexKind | None = None,
        guard: GuardLimits | None = None,
        keyword_search: bool = False,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Create a collection.

        Args:
            name: Its name, `^[a-z0-9][a-z0-9_-]{0,62}$`.
            image_space: Raw space of its images; empty means the mesh's own, unless `text_space` is given.
            text_space: Raw space of its texts; empty means the mesh's own, unless `image_space` is given.
            image_dimension: Dimension of an image space that is not the mesh's own.
            text_dimension: Dimension of a text space that is not the mesh's own.
            aligner: Aligner to start with; empty means the mesh's default for these spaces.
            store_thumbnails: Let items carry thumbnails.
            index: The kind of structure that large segments are searched by; None leaves the choice to the searchers.
            guard: What an aligner may cost it; None means the defaults.
            keyword_search: Keep the texts of text items as they are sent, so that their words can be searched; else
                only their digests are kept.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            AlreadyExistsError: COLLECTION_EXISTS.
            IsthmusError: the call failed otherwise.
            ValueError: `index` is no kind that there is.
        """
        return self._run(
            plan.create_collection(
                self._planner,
                name,
                image_space=image_space,
                text_space=text_space,
                image_dimension=image_dimension,
                text_dimension=text_dimension,
                aligner=aligner,
                store_thumbnails=store_thumbnails,
                index=index,
                guard=guard,
                keyword_search=keyword_search,
                request_id=request_id,
            ),
            timeout_s,
        )

    def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Get a collection.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        return self._run(plan.get_collection(self._planner, name), timeout_s)

    def list_collections(self, *, timeout_s: float | None = None) -> tuple[Collection, ...]:
        """List the collections by name.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.list_collections(self._planner), timeout_s)

    def delete_collection(self, name: str, *, request_id: str | None = None, timeout_s: float | None = None) -> None:
        """Delete a collection and its items.

        Raises:
            NotFoundError: COLLECTION_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        self._run(plan.delete_collection(self._planner, name, request_id=request_id), timeout_s)
