"""`isthmus watch`."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.options import Address, Json, connect
from isthmus.cli.output import facts, note, percent, print_json, print_table, table
from isthmus.client import Client, ProbeRecall, RefitProposal, WatchReport

__all__ = ["watch"]


def watch(
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", "-c", metavar="NAME", help="The collection.", show_default="open proposals of all of them"
        ),
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="List closed proposals too.")] = False,
    dismiss: Annotated[str, typer.Option(metavar="ID", help="Dismiss this proposal of the collection.")] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is dismissed; kept with it.")] = "",
    address: Address = None,
    json: Json = False,
) -> None:
    """Show how a collection has moved away from its aligner's fit, and proposals to fit again.

    The mesh looks by itself and changes nothing: a person fits, verifies and promotes, or dismisses the proposal.
    """
    with reporting(as_json=json), connect(address) as client:
        if collection is None:
            if dismiss or reason:
                msg = "--dismiss needs --collection"
                raise UsageError(msg)
            _list(client, closed=closed, as_json=json)
            return
        if reason and not dismiss:
            msg = "--reason goes with --dismiss"
            raise UsageError(msg)
        if dismiss:
            client.dismiss_proposal(collection, dismiss, reason=reason)
        report = client.get_watch(collection)
        proposals = client.list_proposals(collection, include_closed=True) if closed else report.proposals
        if json:
            print_json(_document(report, proposals))
        else:
            _show(report)
            _show_proposals(proposals)


def _list(client: Client, *, closed: bool, as_json: bool) -> None:
    found = client.list_proposals(include_closed=closed)
    if as_json:
        print_json({"proposals": [_proposal_document(one) for one in found]})
    elif found:
        _show_proposals(found)
    else:
        note("there are no proposals to fit an aligner again")


def _show(report: WatchReport) -> None:
    if report.time is None:
        note(f"nobody has looked at {report.collection} yet; the mesh does so by itself")
        return
    facts(
        [
            ("collection", f"{report.collection}, revision {report.revision}"),
            ("aligner", report.aligner or "none"),
            ("looked at", f"{report.pairs} pairs, {_moment(report.time)}"),
        ]
    )
    if report.unmeasured:
        note(f"no figures: {report.unmeasured}")
        return
    headings = ("now", "at the fit", "moved", "noise floors", "limit")
    print_table(table("figure", *headings, title="Since the fit", right=headings), _rows(report))
    if not report.drift:
        note("drift is unknown: the aligner remembers nothing of its fit; one that is fitted now will")


def _rows(report: WatchReport) -> Iterator[tuple[str, ...]]:
    limits = report.limits
    for space, gap in (("raw", report.raw_gap), ("aligned", report.aligned_gap)):
        if gap is not None:
            yield f"centroid gap, {space}", f"{gap:.3f}", "", "", "", ""
    for modality, drift in sorted(report.drift.items()):
        for name, moved, share, floors in (
            ("mean", drift.mean, limits.mean_share, limits.mean_floors),
            ("spectrum", drift.spectrum, limits.spectrum_share, limits.spectrum_floors),
        ):
            yield f"{name} of {modality}s", "", "", percent(moved.share), f"{moved.floors:.1f}", _limit(share, floors)
    for query in ("image", "text"):
        now, then = _recall(report.probe, query), _recall(report.fit_probe, query)
        yield f"probe recall@10, {query} queries", _percent(now), _percent(then), "", "", ""
    if report.probe is not None and report.fit_probe is not None:
        drop = sum(_recall(report.fit_probe, query) or 0.0 for query in ("image", "text")) / 2
        drop -= sum(_recall(report.probe, query) or 0.0 for query in ("image", "text")) / 2
        yield "probe recall@10, fall", "", "", percent(drop), "", percent(limits.recall_drop)


def _show_proposals(proposals: Sequence[RefitProposal]) -> None:
    for one in proposals:
        of = f" of {one.subject}s" if one.subject else ""
        state = "" if one.state == "open" else f", {one.state}" + (f" {_moment(one.closed)}" if one.closed else "")
        facts(
            [
                ("proposal", f"{one.proposal}{state}"),
                ("why", f"{one.cause.replace('_', ' ')}{of}: {percent(one.figure)}, limit {percent(one.limit)}"),
                ("seen", f"{one.collection} revision {one.revision}, {_moment(one.time)}, aligner {one.aligner}"),
                ("fit anew", one.command),
                *([("dismissed because", one.reason)] if one.reason else []),
            ]
        )
    if any(one.state == "open" for one in proposals):
        note("nothing changes by itself: verify and promote what is fitted anew, or --dismiss the proposal")


def _document(report: WatchReport, proposals: Sequence[RefitProposal]) -> dict[str, Any]:
    document = dataclasses.asdict(report)
    gap = {"raw": document.pop("raw_gap"), "aligned": document.pop("aligned_gap")}
    document |= {"time": _iso(report.time), "gap": gap}
    return document | {"proposals": [_proposal_document(one) for one in proposals]}


def _proposal_document(one: RefitProposal) -> dict[str, Any]:
    document = dataclasses.asdict(one)
    report = document.pop("report_json")
    document |= {"time": _iso(one.time), "closed": _iso(one.closed)}
    return document | {"report": json_module.loads(report) if report else None}


def _recall(probe: ProbeRecall | None, query: str) -> float | None:
    if probe is None:
        return None
    return probe.image_query if query == "image" else probe.text_query


def _percent(share: float | None) -> str:
    return "unknown" if share is None else percent(share)


def _limit(share: float, floors: float) -> str:
    return f"{percent(share)} and {floors:.1f}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")
