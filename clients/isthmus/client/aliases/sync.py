"""Calls for aliases, for threads and scripts."""

from __future__ import annotations

from isthmus.client.aliases import plan
from isthmus.client.aliases.results import Alias
from isthmus.client.calls import Calls

__all__ = ["AliasCalls"]


class AliasCalls(Calls):
    """Calls of `Client` for aliases."""

    def set_alias(
        self,
        alias: str,
        collection: str,
        *,
        recall_margin: float | None = None,
        override_reason: str = "",
        seed: int = 0,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Alias:
        """Point a name at a collection, or at another one; it stands for that one wherever a collection is named.

        Args:
            alias: The name, `^[a-z0-9][a-z0-9_-]{0,62}$`; no collection may have it.
            collection: The collection, by its own name.
            recall_margin: How far the recall@10 of pairs may fall, 0 to 1; None means 0.02.
            override_reason: Why it is switched although the collections may not agree; kept with the alias.
            seed: Of the probe that both collections are asked.
            request_id: Names this mutation.
            timeout_s: Deadline.

        Raises:
            FailedPreconditionError: ALIAS_REFUSED, the collections do not agree; `metadata` holds the figures.
                NAME_IS_ALIAS, the target is an alias itself.
            AlreadyExistsError: COLLECTION_EXISTS; a collection has the alias' name.
            IsthmusError: the call failed otherwise.
        """
        return self._run(
            plan.set_alias(
                self._planner,
                alias,
                collection,
                recall_margin=recall_margin,
                override_reason=override_reason,
                seed=seed,
                request_id=request_id,
            ),
            timeout_s,
        )

    def delete_alias(self, alias: str, *, request_id: str | None = None, timeout_s: float | None = None) -> None:
        """Delete an alias; the collection it points at stays.

        Raises:
            NotFoundError: ALIAS_NOT_FOUND.
            IsthmusError: the call failed otherwise.
        """
        self._run(plan.delete_alias(self._planner, alias, request_id=request_id), timeout_s)

    def list_aliases(self, *, timeout_s: float | None = None) -> tuple[Alias, ...]:
        """List the aliases by name.

        Raises:
            IsthmusError: the call failed.
        """
        return self._run(plan.list_aliases(self._planner), timeout_s)
