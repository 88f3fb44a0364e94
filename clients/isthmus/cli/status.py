"""`isthmus status`."""

from __future__ import annotations

import dataclasses

from isthmus.cli.failures import reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import facts, note, print_json, print_table, table
from isthmus.client import Status

__all__ = ["status"]


def status(address: Address = None, json: Json = False) -> None:
    """Say what the mesh is made of and how it is."""
    with reporting(as_json=json), connect(address) as client:
        found = client.status()
        if json:
            print_json({"address": client.address, **dataclasses.asdict(found)})
        else:
            _show(client.address, found)


def _show(address: str, found: Status) -> None:
    cache = found.cache
    facts(
        [
            ("mesh", f"{address}, version {found.version}"),
            ("index", f"writer {_state(found.index_writer_serving)}, searcher {_state(found.index_search_serving)}"),
            ("alignment", _state(found.alignment_serving)),
            ("cache", f"{cache.backend} {_state(cache.serving)}" if cache.backend != "none" else "in process only"),
            ("", f"{cache.local_hits} local hits, {cache.backend_hits} backend hits, {cache.misses} misses"),
            ("aligner", found.default_aligner or "none"),
        ]
    )
    made = table(
        "encoder", "space", "dimension", "computes in", "on", "encoded", "state", right=("dimension", "encoded")
    )
    print_table(
        made,
        (
            (e.modality, e.space or "-", e.dimension, e.compute_type, e.device, e.encoded_items, _state(e.serving))
            for e in found.encoders
        ),
    )
    if found.open_proposals:
        note(f"open proposals to fit an aligner again: {found.open_proposals}; see them with: isthmus watch")
    for notice in found.notices:
        note(notice)


def _state(serving: bool) -> str:
    return "ready" if serving else "NOT ANSWERING"
