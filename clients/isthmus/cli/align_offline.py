"""`isthmus align fit|verify|compare` on a file of paired embeddings: no mesh, no encoder, no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer

from isthmus.cli.align_collection import (
    OptionalCollection,
    compare_collection,
    fit_collection,
    one_file,
    verify_collection,
)
from isthmus.cli.align_tables import FIGURE_COLUMNS, figure_cells, print_change
from isthmus.cli.detail_tables import show_details
from isthmus.cli.details import (
    DetailOptions,
    Details,
    Gains,
    GainsModality,
    Queries,
    SliceAttribute,
    SliceCaptionLength,
    TopK,
    detail_request,
    read_details,
    read_notes,
)
from isthmus.cli.embeddings import EMBEDDINGS, numerics, read_pairs
from isthmus.cli.failures import CommandError, UsageError, reporting
from isthmus.cli.local import unwritable
from isthmus.cli.options import Address, Json
from isthmus.cli.output import facts, note, percent, print_json, print_table, table
from isthmus.cli.progress import share_bar
from isthmus.cli.report import Report, require_folder, write_report
from isthmus.client import FitOptions as CollectionOptions

if TYPE_CHECKING:
    from isthmus.core.aligners import Artefact, FitOptions
    from isthmus.core.recipe import RawPairs, Verification

__all__ = ["compare", "fit", "verify"]

_ONE_SPACE: Final = "unnamed@00000000"
_TWO_SPACES: Final = ("unnamed-image@00000000", "unnamed-text@00000000")
_CREATED_BY: Final = "isthmus align fit"
_RECALIBRATE: Final = "recalibrate"

OptionalEmbeddings = Annotated[Path | None, EMBEDDINGS]
Space = typer.Option(metavar="ENCODER@REVISION", help="Their raw space; needed before a mesh can use the aligner.")
ImageSpace = Annotated[str, Space]
TextSpace = Annotated[str, Space]
Strength = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the correction, where the method has one.")]
Dimension = Annotated[int | None, typer.Option(min=1, help="Of an aligned vector; for cca and spectral.")]
Hubness = Annotated[bool, typer.Option("--hubness", help="Correct hubness on top, by item offsets.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Epsilon = Annotated[float, typer.Option(min=0.0, max=1.0, help="How far the guard lets a recall fall.")]


def fit(
    method: Annotated[
        str, typer.Option(metavar="M", help="identity, shift, center, standardize, procrustes, cca, …, recalibrate")
    ] = "",
    embeddings: OptionalEmbeddings = None,
    collection: OptionalCollection = None,
    on_top_of: Annotated[
        str,
        typer.Option(
            metavar="DIR|ALIGNER",
            help="Keep this aligner's maps and fit what lies on top; recalibrate alone means the active one's.",
        ),
    ] = "",
    strength: Strength = 1.0,
    dimension: Dimension = None,
    by_sigma: Annotated[bool, typer.Option("--by-sigma", help="Weigh spectral coordinates by their sigma.")] = False,
    lift: Annotated[
        float | None, typer.Option(min=0.0, help="What spectral adds to every similarity.", show_default="as needed")
    ] = None,
    hubness: Hubness = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the artefact; it must not be there yet.", show_default="./METHOD"),
    ] = None,
    name: Annotated[str, typer.Option(metavar="ID", help="Name of the aligner.", show_default="the method")] = "",
    image_space: ImageSpace = "",
    text_space: TextSpace = "",
    epsilon: Epsilon = 0.02,
    seed: Seed = 0,
    address: Address = None,
    json: Json = False,
) -> None:
    """Fit an aligner to four fifths of the pairs, judge it on the others, and write its artefact.

    Which pairs are held out follows from their keys alone, so `align verify` on the same file judges on the same ones.
    With --on-top-of the maps of an aligner stay, its calibration and hubness correction are fitted anew, and it is what
    the new one is judged against.
    """
    method = method or (_RECALIBRATE if on_top_of else "")
    if collection is not None and embeddings is None:
        options = CollectionOptions(
            strength=None if strength == 1.0 else strength,
            dimension=dimension or 0,
            by_sigma=by_sigma,
            lift=lift,
            hubness=hubness,
            on_top_of=on_top_of,
        )
        fit_collection(collection, method=method, name=name, options=options, seed=seed, address=address, json=json)
        return
    with reporting(as_json=json), numerics("`isthmus align fit`"):
        embeddings = one_file(embeddings, collection)
        from isthmus.core.aligners import Artefact, FitOptions, Label
        from isthmus.core.guard import GuardLimits
        from isthmus.core.recipe import fit_and_judge

        if not method:
            msg = "name a method with --method, or an aligner to build on with --on-top-of"
            raise UsageError(msg)
        base = Artefact.load(Path(on_top_of)) if on_top_of else None
        folder = out or Path(method)
        if folder.exists():
            msg = f"{folder} is there already"
            raise UsageError(msg, hint="name a new folder with --out")
        chosen = FitOptions(
            strength=strength, dimension=dimension, by_sigma=by_sigma, lift=lift, hubness=hubness, seed=seed
        )
        artefact, found = fit_and_judge(
            method,
            _pairs(embeddings, image_space, text_space, artefact=base),
            label=Label(aligner_id=name or method, created_by=_CREATED_BY, seed=seed),
            options=chosen,
            on_top_of=base,
            baseline=base,
            limits=GuardLimits(epsilon=epsilon),
        )
        try:
            artefact.save(folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        if json:
            print_json({"aligner": artefact.space, "folder": str(folder)} | found.to_dict())
            return
        facts(
            [
                ("aligner", artefact.space),
                ("folder", folder),
                ("learned from", f"{artefact.manifest.pair_count} pairs"),
                ("judged on", f"{found.guard.pair_count} pairs"),
            ]
        )
        _show(artefact.manifest.method, found)
        note(f"bring it into a mesh with: isthmus align import {folder}")


def verify(
    aligner: Annotated[
        str, typer.Option(metavar="DIR|ALIGNER", help="A folder with its artefact; with --collection, its name.")
    ],
    embeddings: OptionalEmbeddings = None,
    collection: OptionalCollection = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Judge on every pair: the aligner was fitted to none of this file.")
    ] = False,
    image_space: ImageSpace = "",
    text_space: TextSpace = "",
    slice_attribute: SliceAttribute = "",
    slice_caption_length: SliceCaptionLength = False,
    queries: Queries = None,
    gains: Gains = None,
    top_k: TopK = 10,
    gains_modality: GainsModality = "any",
    epsilon: Epsilon = 0.02,
    seed: Seed = 0,
    address: Address = None,
    report: Report = None,
    json: Json = False,
) -> None:
    """Judge an aligner on held-out pairs: retrieval before and after, calibration, and what the guard says.

    By slices it shows where it helps and where it costs; a table of gains says what that is worth.
    """
    asked = DetailOptions(
        attribute=slice_attribute,
        caption_length=slice_caption_length,
        queries=queries,
        gains=gains,
        top_k=top_k,
        searched=gains_modality,
    )
    if collection is not None and embeddings is None:
        verify_collection(collection, aligner, asked=asked, seed=seed, report=report, address=address, json=json)
        return
    with reporting(as_json=json), numerics("`isthmus align verify`"):
        embeddings = one_file(embeddings, collection)
        require_folder(report)
        from isthmus.core.aligners import Artefact
        from isthmus.core.guard import GuardLimits
        from isthmus.core.recipe import verify_artefact

        details = read_details(asked)
        artefact = Artefact.load(Path(aligner))
        pairs = _pairs(embeddings, image_space, text_space, artefact=artefact, details=details)
        learned, judged = (pairs, pairs) if all_pairs else pairs.split()
        found = verify_artefact(
            artefact,
            judged,
            learned=learned,
            limits=GuardLimits(epsilon=epsilon),
            seed=seed,
            details=detail_request(details, pairs),
        )
        document = found.to_dict()
        if json:
            print_json({"aligner": artefact.space} | document)
        else:
            facts([("aligner", artefact.space), ("judged on", f"{found.guard.pair_count} pairs")])
            _show(artefact.manifest.method, found)
            show_details(document)
        if report is not None:
            from isthmus.evaluation.report import compared_contents

            named = {artefact.manifest.aligner_id: (artefact, found)}
            contents = compared_contents(embeddings.name, pairs, named, refused={}, all_pairs=all_pairs, seed=seed)
            write_report(report, contents)


def compare(
    embeddings: OptionalEmbeddings = None,
    collection: OptionalCollection = None,
    methods: Annotated[
        str, typer.Option(metavar="M,…", help="Which ones, separated by commas.", show_default="all")
    ] = "",
    hubness: Hubness = False,
    epsilon: Epsilon = 0.02,
    seed: Seed = 0,
    address: Address = None,
    report: Report = None,
    json: Json = False,
) -> None:
    """Fit every method to the same pairs and judge all on the same others; no aligner is written."""
    wanted = tuple(method.strip() for method in methods.split(",") if method.strip())
    if collection is not None and embeddings is None:
        compare_collection(
            collection, methods=wanted, hubness=hubness, seed=seed, report=report, address=address, json=json
        )
        return
    with reporting(as_json=json), numerics("`isthmus align compare`"):
        embeddings = one_file(embeddings, collection)
        from isthmus.core.aligners import FITTED_METHODS, FitOptions

        chosen = list(wanted) or list(FITTED_METHODS)
        unknown = sorted(set(chosen) - set(FITTED_METHODS))
        if unknown:
            msg = f"--methods: {', '.join(unknown)}; there are {', '.join(FITTED_METHODS)}"
            raise UsageError(msg)
        require_folder(report)
        pairs = _pairs(embeddings, "", "")
        pairs.split()  # whatever is wrong with the pairs themselves is wrong for every method
        options = FitOptions(hubness=hubness, seed=seed)
        fitted: dict[str, tuple[Artefact, Verification]] = {}
        refused: dict[str, str] = {}
        with share_bar() as tell:
            for done, method in enumerate(chosen):
                tell(done / len(chosen), method)
                _judge(method, pairs, options, epsilon=epsilon, fitted=fitted, refused=refused)
        judged = {method: found for method, (_, found) in fitted.items()}
        if json:
            print_json(
                {
                    "methods": {method: found.to_dict() for method, found in judged.items()},
                    "refused": refused,
                }
            )
        else:
            _show_all(judged, refused)
        if report is not None:
            from isthmus.evaluation.report import compared_contents

            write_report(report, compared_contents(embeddings.name, pairs, fitted, refused=refused, seed=seed))


def _judge(
    method: str,
    pairs: RawPairs,
    options: FitOptions,
    *,
    epsilon: float,
    fitted: dict[str, tuple[Artefact, Verification]],
    refused: dict[str, str],
) -> None:
    from isthmus.core.aligners import Label
    from isthmus.core.errors import CoreError
    from isthmus.core.guard import GuardLimits
    from isthmus.core.recipe import fit_and_judge

    label = Label(aligner_id=method, created_by=_CREATED_BY, seed=options.seed)
    try:
        fitted[method] = fit_and_judge(method, pairs, label=label, options=options, limits=GuardLimits(epsilon=epsilon))
    except CoreError as error:
        refused[method] = str(error)


def _pairs(
    path: Path,
    image_space: str,
    text_space: str,
    *,
    artefact: Artefact | None = None,
    details: Details | None = None,
) -> RawPairs:
    """Read the file; raw spaces come from the options, else from the file, else from the aligner, else are unnamed."""
    from isthmus.core.recipe import RawPairs

    found = read_pairs(path)
    stated = _stated_spaces(path)
    if artefact is not None:
        unnamed = artefact.manifest.image_space, artefact.manifest.text_space
    elif found.images.shape[1] == found.texts.shape[1]:
        unnamed = _ONE_SPACE, _ONE_SPACE
    else:
        unnamed = _TWO_SPACES
    if found.repeated:
        note(f"{found.repeated} rows repeat an image of the same pair key and were left out")
    return RawPairs(
        images=_unit(found.images, "image"),
        texts=_unit(found.texts, "text"),
        image_keys=found.image_keys,
        text_keys=found.text_keys,
        image_space=image_space or stated.get("image", unnamed[0]),
        text_space=text_space or stated.get("text", unnamed[1]),
        notes=None if details is None else read_notes(details, found),
    )


def _stated_spaces(path: Path) -> dict[str, str]:
    """Return the raw spaces that the file names, in arrays image_space and text_space, one for all rows or one each.

    Raises:
        SpacesMismatchError: The rows of a modality are of several.
    """
    from isthmus.core import Modality
    from isthmus.core.aligners.pairs import require_one_revision

    with np.load(path, allow_pickle=False) as arrays:
        return {
            modality.value: require_one_revision([str(space) for space in np.ravel(arrays[name])], modality=modality)
            for modality in Modality
            if (name := f"{modality}_space") in arrays
        }


def _unit(rows: Any, name: str) -> Any:
    """Return rows in their canonical form, as a mesh would keep them.

    Raises:
        CommandError: A row is not finite or has no direction.
    """
    from isthmus.core import InvalidVectorError, canonical

    try:
        return canonical(rows)
    except InvalidVectorError as error:
        msg = f"{name} {error}"
        raise CommandError(msg, reason="INVALID_VECTOR", hint="leave such items out") from error


def _show(method: str, found: Verification) -> None:
    print_change(method, found.before, found.after)
    if found.ece is not None:
        note(f"match probabilities are off by {percent(found.ece)} on average, over the ten best answers")
    _show_guard(found)


def _show_guard(found: Verification) -> None:
    if found.guard.ok:
        note("the guard lets it pass")
    for reason in found.guard.reasons:
        note(f"the guard refuses: {reason}")


def _show_all(judged: dict[str, Verification], refused: dict[str, str]) -> None:
    rows: list[tuple[object, ...]] = []
    for method, found in judged.items():
        if not rows:
            rows.append(("before", *figure_cells(found.before), "", ""))
        ece = "-" if found.ece is None else f"{found.ece:.3f}"
        rows.append((method, *figure_cells(found.after), ece, "passes" if found.guard.ok else "refused"))
    columns = (*FIGURE_COLUMNS, "ECE")
    print_table(table("method", *columns, "guard", right=columns), rows)
    for method, found in judged.items():
        for reason in found.guard.reasons:
            note(f"{method}: {reason}")
    for method, reason in refused.items():
        note(f"not fitted: {method}: {reason}")
