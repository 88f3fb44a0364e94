"""Names that point at collections: how they are kept, and when one may be switched."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from isthmus.core.modality import Modality
from isthmus.index.state import CollectionState, unpack_record
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)

__all__ = [
    "ALIASES_MAX_COUNT",
    "RECALL_MARGIN",
    "Alias",
    "Comparison",
    "SwitchTerms",
    "alias_not_found",
    "check_alias_count",
    "check_switch",
    "collection_has_alias",
    "name_is_alias",
]

ALIASES_MAX_COUNT: Final = 1_000
"""Aliases of one tenant."""
RECALL_MARGIN: Final = 0.02
"""How far the recall@10 of pairs may fall unless the caller says otherwise, a difference of two shares."""
OVERLAP_LEAST: Final = 0.5
"""Share of an item's 10 nearest neighbours that must stay where there are too few pairs to judge by, on average."""
PAIRS_LEAST: Final = 32
"""Pairs below which a recall says too little."""
_IDS_COUNT: Final = 1_000
_REASON_MAX_BYTES: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two collections answer the same questions; shares in [0, 1]. Means as in `AliasComparison` of the wire."""

    old_collection: str
    new_collection: str
    old_revision: int
    new_revision: int
    pair_count: int = 0
    missing_pair_count: int = 0
    old_t2i_recall: float = 0.0
    new_t2i_recall: float = 0.0
    old_i2t_recall: float = 0.0
    new_i2t_recall: float = 0.0
    neighbor_query_count: int = 0
    neighbor_overlap: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name that points at a collection."""

    name: str
    collection: str
    """What it points at."""
    request_id: str
    """Of the request that set it."""
    time_us: int = 0
    """When, in microseconds since 1970."""
    previous: str = ""
    """What it pointed at before; empty when it is new."""
    override_reason: str = ""
    """Why it was switched although the collections may not agree."""
    comparison: Comparison | None = None
    """What was found when it was switched."""

    def to_json(self) -> str:
        """Return what the catalog stores of it beside its name, its request and its time."""
        return json.dumps(
            {
                "collection": self.collection,
                "previous": self.previous,
                "override_reason": self.override_reason,
                "comparison": None if self.comparison is None else asdict(self.comparison),
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, *, name: str, request_id: str, time_us: int) -> Alias:
        """Read what `to_json` wrote; a figure that a later version added is ignored."""
        document = json.loads(text)
        found: Mapping[str, object] | None = document["comparison"]
        known = {entry.name for entry in fields(Comparison)}
        return cls(
            name=name,
            collection=document["collection"],
            request_id=request_id,
            time_us=time_us,
            previous=document["previous"],
            override_reason=document["override_reason"],
            comparison=None
            if found is None
            else Comparison(**{key: value for key, value in found.items() if key in known}),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchTerms:
    """On what an alias may be switched.

    Raises:
        InvalidArgumentError: INVALID_FIELD; the margin is no share, or the reason is too long.
    """

    comparison: Comparison | None = None
    """How the two collections answer; None where nobody has compared them."""
    recall_margin: float = RECALL_MARGIN
    """How far the recall@10 of pairs may fall."""
    override_reason: str = ""
    """Why it is switched all the same; empty when it is not."""
    seed: int = 0
    """Of the ids that are looked for."""

    def __post_init__(self) -> None:
        """Check margin and reason."""
        if not 0.0 <= self.recall_margin <= 1.0:
            msg = "recall_margin must be 0 to 1"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "recall_margin"})
        size = len(self.override_reason.encode())
        if size > _REASON_MAX_BYTES:
            msg = f"override_reason has {size} bytes; the limit is {_REASON_MAX_BYTES}"
            raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "override_reason"})

    def check_compared(self, old: str, new: str) -> None:
        """Refuse a comparison of other collections: the alias was switched while they were compared.

        Raises:
            UnavailableError: NOT_READY; ask again.
        """
        found = self.comparison
        if found is not None and (found.old_collection, found.new_collection) != (old, new):
            msg = "the alias was switched meanwhile"
            raise UnavailableError(msg, reason="NOT_READY", retry_after_s=0.0)


def check_switch(alias: str, old: CollectionState, new: CollectionState, terms: SwitchTerms) -> None:
    """Refuse to switch an alias to a collection that does not hold, or does not find, what the old one does.

    Args:
        alias: Its name, for the message.
        old: The collection that it points at.
        new: The one that it is to point at.
        terms: What was found, and what is allowed.

    Raises:
        FailedPreconditionError: ALIAS_REFUSED, with the figures.
    """
    if terms.override_reason:
        return
    found = terms.comparison
    reasons = _count_reasons(old, new) or _id_reasons(old, new, terms.seed)
    if found is None:
        reasons.append("nobody has compared how they answer")
    elif sum(old.counts.values()):
        reasons += _answer_reasons(found, terms.recall_margin)
    if reasons:
        figures = "; ".join(reasons)
        msg = (
            f"the alias is not switched, as the collections do not agree: {figures}; "
            "say in override_reason why it is switched all the same"
        )
        metadata = {"alias": alias, "figures": figures, "field": "override_reason"}
        raise FailedPreconditionError(msg, reason="ALIAS_REFUSED", metadata=metadata)


def check_alias_count(count: int) -> None:
    """Refuse one more than a tenant may have.

    Raises:
        ResourceExhaustedError: LIMIT_EXCEEDED.
    """
    if count >= ALIASES_MAX_COUNT:
        msg = f"there are {count} aliases; the limit is {ALIASES_MAX_COUNT}"
        raise ResourceExhaustedError(
            msg, reason="LIMIT_EXCEEDED", metadata={"field": "alias", "limit": str(ALIASES_MAX_COUNT)}
        )


def alias_not_found() -> NotFoundError:
    """Return ALIAS_NOT_FOUND."""
    msg = "there is no such alias"
    return NotFoundError(msg, reason="ALIAS_NOT_FOUND")


def name_is_alias(alias: Alias) -> FailedPreconditionError:
    """Return NAME_IS_ALIAS: a collection's own name is needed, or one that is free."""
    msg = f"the name is an alias, of the collection {alias.collection}"
    return FailedPreconditionError(msg, reason="NAME_IS_ALIAS", metadata={"collection": alias.collection})


def collection_has_alias(alias: Alias) -> FailedPreconditionError:
    """Return COLLECTION_HAS_ALIAS: it cannot be deleted while somebody calls it by another name."""
    msg = f"the alias {alias.name} points at the collection; point it elsewhere or delete it first"
    return FailedPreconditionError(msg, reason="COLLECTION_HAS_ALIAS", metadata={"alias": alias.name})


def _count_reasons(old: CollectionState, new: CollectionState) -> list[str]:
    return [
        f"{new.counts[modality]} {modality} items instead of {old.counts[modality]}"
        for modality in Modality
        if new.counts[modality] != old.counts[modality]
    ]


def _id_reasons(old: CollectionState, new: CollectionState, seed: int) -> list[str]:
    """Look for some ids of each collection in the other one, under the same modality."""
    rng = random.Random(seed)  # noqa: S311 - a sample
    reasons = []
    for there, here, which in ((old, new, "new"), (new, old, "old")):
        ids = list(there.items)  # one step of the interpreter: nothing is committed meanwhile
        sampled = rng.sample(ids, min(_IDS_COUNT, len(ids)))
        missing = sum(_modality(here, item_id) != _modality(there, item_id) for item_id in sampled)
        if missing:
            reasons.append(f"{missing} of {len(sampled)} sampled ids are not in the {which} collection")
    return reasons


def _modality(state: CollectionState, item_id: str) -> Modality | None:
    record = state.items.get(item_id)
    return None if record is None else unpack_record(record)[0]


def _answer_reasons(found: Comparison, margin: float) -> list[str]:
    if found.pair_count < PAIRS_LEAST:
        if found.neighbor_query_count and found.neighbor_overlap < OVERLAP_LEAST:
            queries, overlap = found.neighbor_query_count, found.neighbor_overlap
            return [
                f"of {queries} items {overlap:.3f} of the 10 nearest are the same, at least {OVERLAP_LEAST:g} is needed"
            ]
        return []
    reasons = []
    if found.missing_pair_count:
        reasons.append(f"{found.missing_pair_count} of {found.pair_count} sampled pairs are not there")
    for name, old, new in (
        ("text to image", found.old_t2i_recall, found.new_t2i_recall),
        ("image to text", found.old_i2t_recall, found.new_i2t_recall),
    ):
        if new < old - margin:
            reasons.append(f"recall@10 {name} is {new:.3f} instead of {old:.3f}, at most {margin:g} less is allowed")
    return reasons
