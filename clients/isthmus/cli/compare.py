"""`isthmus compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.embeddings import numerics, read_pairs
from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.measure import Sample, Seed, measured
from isthmus.cli.options import Json
from isthmus.cli.output import note, percent, print_json, print_table, table

if TYPE_CHECKING:
    from isthmus.core.gap import EncoderChoice, GapReport

__all__ = ["app"]

app = typer.Typer(help="Compare before building; needs no running mesh.", no_args_is_help=True)

_ENCODERS_MIN = 2


@app.callback()
def compare() -> None:
    """Compare before building; a group, so that `encoders` keeps its name."""


@app.command()
def encoders(
    embeddings: Annotated[
        list[Path],
        typer.Option("--embeddings", metavar="A.npz B.npz …", help="One file of paired embeddings an encoder."),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]…", help="Further ones.", show_default=False)] = (
        None
    ),
    seed: Seed = 0,
    sample: Sample = 2_000,
    json: Json = False,
) -> None:
    """Choose an encoder: measure each on the same pairs, and say which to build on and why.

    An encoder is called as its file, without the suffix. Files with the same pair keys are compared pair by pair.
    """
    with reporting(as_json=json), numerics("`isthmus compare encoders`"):
        from isthmus.core.gap import choose_encoder

        paths = [*embeddings, *(more or [])]
        names = [path.stem for path in paths]
        if len(paths) < _ENCODERS_MIN or len(set(names)) < len(names):
            msg = f"{len(set(names))} differently named files of {len(paths)}; give at least {_ENCODERS_MIN}"
            raise UsageError(msg, hint="isthmus compare encoders --embeddings A.npz B.npz")
        reports: dict[str, GapReport] = {}
        for name, path in zip(names, paths, strict=True):
            reports[name] = measured(read_pairs(path), seed=seed, sample=sample)
        choice = choose_encoder(reports, seed=seed)
        if json:
            encoders_ = {name: report.to_dict() for name, report in reports.items()}
            print_json({"encoders": encoders_, "choice": choice.to_dict()})
        else:
            _show(reports, choice)


def _show(reports: dict[str, GapReport], choice: EncoderChoice) -> None:
    names = list(choice.mean_recall)
    rows: list[tuple[str, ...]] = [("pairs", *(str(reports[name].n) for name in names))]
    rows.append(("mean recall", *(percent(choice.mean_recall[name]) for name in names)))
    found = {name: report.retrieval for name, report in reports.items() if report.retrieval is not None}
    rows += [
        ("text → image R@1", *(percent(found[name].t2i.recall.r1) for name in names)),
        ("image → text R@1", *(percent(found[name].i2t.recall.r1) for name in names)),
        ("text → any R@20", *(percent(found[name].t2i.mixed.r20) for name in names)),
        ("image → any R@20", *(percent(found[name].i2t.mixed.r20) for name in names)),
    ]
    lines = {name: reports[name].headline() for name in names}
    for measure in lines[names[0]]:
        figures = (lines[name][measure] for name in names)
        rows.append((measure.replace("_", " "), *("" if one is None else f"{one:.4f}" for one in figures)))
    print_table(table("", *names, title="Encoders, best recall first", right=names), rows)
    headings = ("ahead by", "95 % interval")
    print_table(
        table(f"{names[0]} against", *headings, "pair by pair", title="Mean recall", right=headings),
        (
            (
                other.name,
                f"{100 * other.recall.value:+.1f}",
                f"{100 * other.recall.low:+.1f} … {100 * other.recall.high:+.1f}",
                "yes" if other.paired else "no, the pair keys differ",
            )
            for other in choice.ahead_of
        ),
    )
    note(f"build on {choice.chosen}: {choice.reason}")
