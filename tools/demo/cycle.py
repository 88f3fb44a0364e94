"""Measure, fit, verify, promote, search again, roll back: the life of an aligner, through the public client alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from isthmus.client import Client, FailedPreconditionError, Item
from tools.demo.colours import Colour, swatch
from tools.demo.cycle_results import Asked, Cycle
from tools.demo.mesh import DemoError
from tools.demo.searches import COLLECTION

__all__ = ["COLOURS", "run_cycle"]

COLOURS: Final = "colours"
_METHOD: Final = "cca"
_ALIGNER_ID: Final = "of-colours"
_OVERRIDE: Final = "names should lie by the colour that they mean, not by their wording"


def run_cycle(client: Client, colours: Sequence[Colour], *, tell: Callable[[str], None]) -> Cycle:
    """Run the whole life of an aligner on the colours, beside the photographs that were indexed before.

    Args:
        client: Connected to the mesh.
        colours: What to index.
        tell: Told what is being done.

    Raises:
        DemoError: A step did not do what it promises; above all, answers after the rollback differ from those before.
        IsthmusError: A call failed.
    """
    steps = _Steps(tell)
    steps.begin("indexing colours")
    _index(client, colours)
    shipped = client.get_collection(COLOURS).aligner
    steps.begin("measuring")
    measured = {name: client.measure_gap(name, aligner=shipped) for name in (COLLECTION, COLOURS)}
    steps.begin("searching")
    before = _ask(client, colours)
    steps.begin("fitting")
    too_few = _too_few(client)
    fitted = client.fit_aligner(COLOURS, aligner_id=_ALIGNER_ID, method=_METHOD)
    steps.begin("verifying")
    verified = client.verify_aligner(COLOURS, fitted.aligner, page=True)
    steps.begin("promoting")
    refusal = _promote(client, fitted.aligner)
    steps.begin("searching again")
    after = _ask(client, colours)
    steps.begin("rolling back")
    compared_count = _roll_back(client, colours, shipped=shipped, before=before)
    seconds = steps.end()
    report = json.loads(verified.report_json)
    return Cycle(
        colours=tuple(colours),
        gaps={name: found.gap for name, found in measured.items()},
        pair_counts={name: found.pairs for name, found in measured.items()},
        too_few=too_few,
        shipped=shipped,
        fitted=fitted.aligner,
        judged_count=verified.pairs,
        before=report["before"],
        after=report["after"],
        guard_reasons=verified.guard_reasons,
        refusal=refusal,
        override=_OVERRIDE if refusal else "",
        asked_before=before,
        asked_after=after,
        compared_count=compared_count,
        seconds=seconds,
        page=verified.page,
    )


class _Steps:
    """Times what is done one after the other."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._begun: list[tuple[str, float]] = []

    def begin(self, name: str) -> None:
        """Begin a step, which ends the one before it."""
        self._begun.append((name, time.perf_counter()))
        self._tell(name)

    def end(self) -> dict[str, float]:
        """End the last step; return the seconds of each."""
        ends = [*(at for _, at in self._begun[1:]), time.perf_counter()]
        return {name: end - at for (name, at), end in zip(self._begun, ends, strict=True)}


def _index(client: Client, colours: Sequence[Colour]) -> None:
    client.create_collection(COLOURS)
    summary = client.upsert(COLOURS, (item for colour in colours for item in _items(colour)))
    if summary.errors:
        msg = "\n".join(["the mesh refused:", *(f"{error.id}: {error.message}" for error in summary.errors)])
        raise DemoError(msg)


def _items(colour: Colour) -> Iterator[Item]:
    yield Item(id=_image_id(colour), image=swatch(colour), pair_key=colour.name)
    if colour.named:
        yield Item(id=f"text/{colour.name}", text=colour.name, pair_key=colour.name)


def _image_id(colour: Colour) -> str:
    return f"image/{colour.name}"


def _ask(client: Client, colours: Sequence[Colour]) -> tuple[Asked, ...]:
    """Search for every name that was held back."""
    asked = []
    for colour in colours:
        if colour.named:
            continue
        found = client.search(COLOURS, text=colour.name, modality="image", top_k=len(colours)).neighbors
        places = [place for place, one in enumerate(found, start=1) if one.id == _image_id(colour)]
        if len(found) != len(colours) or len(places) != 1:
            msg = f"a search for {colour.name!r} gave {len(found)} of {len(colours)} colours"
            raise DemoError(msg)
        asked.append(Asked(colour=colour, neighbors=tuple(found), rank=places[0]))
    return tuple(asked)


def _too_few(client: Client) -> str:
    """Return how the mesh refuses to fit an aligner to the photographs.

    Raises:
        DemoError: It does not.
    """
    try:
        client.fit_aligner(COLLECTION, aligner_id="of-photographs", method=_METHOD)
    except FailedPreconditionError as error:
        if error.reason == "NOT_ENOUGH_PAIRS":
            return error.message
        raise
    msg = "the mesh fitted an aligner to the photographs, which are too few for one"
    raise DemoError(msg)


def _promote(client: Client, aligner: str) -> str:
    """Make an aligner active; where the guard refuses it, by a recorded override.

    Returns:
        What the guard's refusal said; empty when there was none.

    Raises:
        DemoError: The aligner is not active now, or the override is not on record.
    """
    refusal = ""
    try:
        found = client.promote_aligner(COLOURS, aligner)
    except FailedPreconditionError as error:
        if error.reason != "GUARD_BROKEN":
            raise
        refusal = error.message
        found = client.promote_aligner(COLOURS, aligner, override_reason=_OVERRIDE)
    recorded = client.list_promotions(COLOURS).promotions[0]
    if found.aligner != aligner or recorded.aligner != aligner:
        msg = f"{aligner} was promoted and is not active"
        raise DemoError(msg)
    if bool(refusal) != (recorded.override_reason == _OVERRIDE):
        msg = f"the promotion of {aligner} was recorded with another reason than it was made for"
        raise DemoError(msg)
    return refusal


def _roll_back(client: Client, colours: Sequence[Colour], *, shipped: str, before: Sequence[Asked]) -> int:
    """Roll back and ask everything again.

    Returns:
        How many answers were compared.

    Raises:
        DemoError: Something is not as it was, bit for bit.
    """
    active = client.rollback_aligner(COLOURS).aligner
    if active != shipped:
        msg = f"the rollback made {active} active, not {shipped}"
        raise DemoError(msg)
    again = _ask(client, colours)
    for old, new in zip(before, again, strict=True):
        # Ids, scores and probabilities: equal as floating-point numbers, not nearly equal.
        if old.neighbors != new.neighbors:
            msg = f"after the rollback a search for {old.colour.name!r} is answered otherwise than before the promotion"
            raise DemoError(msg)
    return sum(len(one.neighbors) for one in again)
