"""One look at a collection: read a sample of its pairs, measure, and say what a re-fit would be."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from isthmus.alignment.fitting import raw_pairs
from isthmus.alignment.items import CollectionLoader, LoadedCollection
from isthmus.alignment.ports import CollectionHead, FollowedCollection, ItemBatch
from isthmus.alignment.watching.proposals import Proposal
from isthmus.alignment.watching.state import CollectionWatch
from isthmus.core.aligners import FITTED_METHODS, load_aligner
from isthmus.core.errors import CoreError, NotEnoughItemsError
from isthmus.core.watch import watch_pairs

__all__ = ["ITEMS_A_PAIR", "collected", "looked", "proposal_template"]

ITEMS_A_PAIR: Final = 6
"""Items that a sample may hold for each pair key it was asked for: one and five."""


def collected(messages: Iterable[CollectionHead | ItemBatch], *, count: int) -> LoadedCollection:
    """Return a sample in memory."""
    loader = CollectionLoader(max_items=count * ITEMS_A_PAIR)
    for message in messages:
        loader.add(message)
    return loader.loaded()


def looked(found: FollowedCollection, loaded: LoadedCollection) -> CollectionWatch:
    """Measure a sample. Blocks; for a thread."""
    head, unmeasured, figures = loaded.head, "", None
    try:
        aligner = None if head.aligner is None else load_aligner(head.aligner)
        figures = watch_pairs(raw_pairs(loaded), aligner)
    except CoreError as error:
        unmeasured = str(error) if isinstance(error, NotEnoughItemsError) else "its vectors or its aligner are damaged"
    return CollectionWatch(
        collection=found.name,
        uid=found.uid,
        aligner="" if head.aligner is None else head.aligner.space,
        revision=head.revision,
        time_micros=time.time_ns() // 1000,
        figures=figures,
        unmeasured=unmeasured,
    )


def proposal_template(watch: CollectionWatch, *, method: str) -> Proposal:
    """Return a proposal for what was looked at, but for id and cause."""
    aligner_id = watch.aligner.partition("@")[0]
    if method in FITTED_METHODS:
        command = f"isthmus align fit --collection {watch.collection} --method {method} --name {aligner_id}"
    else:
        command = f"isthmus align compare --collection {watch.collection}"
    return Proposal(
        proposal="",
        collection=watch.collection,
        uid=watch.uid,
        aligner=watch.aligner,
        cause="",
        subject="",
        figure=0.0,
        limit=0.0,
        revision=watch.revision,
        time_micros=watch.time_micros,
        command=command,
        report=watch.to_dict(),
    )
