"""`isthmus align shadow`: compare an aligner with the active one on real searches."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.options import Address, CollectionName, Json, connect
from isthmus.cli.output import facts, note, percent, print_json
from isthmus.client import ShadowReport

__all__ = ["shadow"]

_STATES: Final = {
    "off": "nothing is compared",
    "building": "its structures are being built",
    "ready": "a share of the searches is compared",
    "over_budget": "not built: its structures do not fit the memory for shadows (ISTHMUS_INDEX_SHADOW_MAX_BYTES)",
    "failed": "its structures could not be built; the searcher's log says why",
    "is_active": "it is the active aligner: there is nothing to compare",
}
_MEBIBYTE: Final = 1 << 20


def shadow(
    collection: CollectionName,
    aligner: Annotated[
        str | None,
        typer.Option(metavar="ALIGNER", help="Compare this one: `id@revision`, or `id` for its newest revision."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Stop comparing.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show what was found so far.")] = False,
    address: Address = None,
    json: Json = False,
) -> None:
    """Compare an aligner with the active one on a share of the real searches; no answer changes.

    Figures are those of the searcher that is asked, since it has compared these two; Prometheus has those of all.
    """
    with reporting(as_json=json), connect(address) as client:
        if (aligner is not None) + off + show != 1:
            msg = "name one of --aligner, --off and --show"
            raise UsageError(msg)
        if not show:
            client.set_shadow_aligner(collection, aligner)
        found = client.shadow_report(collection)
        if json:
            print_json({"collection": collection} | dataclasses.asdict(found))
        else:
            _show(collection, found)


def _show(collection: str, found: ShadowReport) -> None:
    rows: list[tuple[str, object]] = [
        ("collection", collection),
        ("active aligner", found.active_aligner or "none"),
        ("shadow aligner", found.aligner or "none"),
        ("state", _STATES.get(found.state, found.state)),
    ]
    if found.memory_bytes:
        limit = found.memory_limit_bytes / _MEBIBYTE
        rows.append(("memory", f"{found.memory_bytes / _MEBIBYTE:,.1f} of {limit:,.0f} MiB for all shadows"))
    if found.overlap is not None and found.top1_changed is not None:
        rows += [
            ("compared", f"{found.requests} searches, {found.queries} queries"),
            ("answers in common", f"{percent(found.overlap)}"),
            ("best answer changed", f"{percent(found.top1_changed)} of the queries"),
        ]
    if found.own_share_active is not None and found.own_share_shadow is not None:
        shares = f"{percent(found.own_share_active)} now, {percent(found.own_share_shadow)} with it"
        rows.append(("own modality's share", shares))
    if found.active_s is not None and found.shadow_s is not None:
        rows.append(("time a query", f"{1e3 * found.active_s:.2f} ms now, {1e3 * found.shadow_s:.2f} ms with it"))
    facts(rows)
    if found.aligner and found.state in ("ready", "building"):
        share, dropped = percent(found.sampled_share), found.dropped_busy_count
        note(f"{share} of the searches are chosen; {dropped} were dropped for load")
