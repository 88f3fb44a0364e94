"""`isthmus measure`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from isthmus.cli.embeddings import EMBEDDINGS, PairedEmbeddings, numerics, read_pairs
from isthmus.cli.failures import UsageError, reporting
from isthmus.cli.measure_collection import measure_collection
from isthmus.cli.options import Address, Json
from isthmus.cli.output import note, percent, print_json, print_table, table
from isthmus.cli.progress import share_bar
from isthmus.cli.report import Report, require_folder, write_report

if TYPE_CHECKING:
    from isthmus.core.gap import DirectionRetrieval, DistanceComparison, Figure, GapReport, GapRetrieval
    from isthmus.evaluation.report import ReportContents

__all__ = ["Sample", "Seed", "measure", "measured"]

Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every sample, split and bootstrap.")]
Sample = Annotated[
    int, typer.Option(min=16, max=2_000, metavar="N", help="Pairs that the costly measures look at, chosen by hash.")
]

_STEPS_COUNT: Final = 15


def measure(
    embeddings: Annotated[Path | None, EMBEDDINGS] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="A collection of a running mesh.")
    ] = None,
    aligner: Annotated[
        str, typer.Option(metavar="ALIGNER", help="With --collection: measure in its space; otherwise the raw space.")
    ] = "",
    seed: Seed = 0,
    sample: Sample = 2_000,
    distances: Annotated[
        bool, typer.Option("--distances", help="Also compare cosine, Euclidean, Manhattan and chi-square.")
    ] = False,
    label_attribute: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="With --collection: an attribute that labels the images; a file has an array label.",
        ),
    ] = "",
    label_template: Annotated[
        str, typer.Option(metavar="TEXT", help="The text for a label, {} in its place: 'a photo of {}'.")
    ] = "",
    report: Report = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Measure the modality gap: of a file of paired embeddings, without a mesh, or of a collection's pairs.

    Every figure comes with its 95 % interval by pair key and, where that means something, with what two halves of one
    modality show: the noise floor.
    """
    if collection is not None and embeddings is None:
        measure_collection(
            collection,
            aligner=aligner,
            seed=seed,
            sample=sample,
            distances=distances,
            report=report,
            label_attribute=label_attribute,
            label_template=label_template,
            address=address,
            json=json,
        )
        return
    with reporting(as_json=json), numerics("`isthmus measure`"):
        if embeddings is None or collection is not None or aligner or label_attribute or label_template:
            msg = "name either --embeddings or --collection, where --aligner and the label options belong"
            raise UsageError(msg)
        require_folder(report)
        pairs = read_pairs(embeddings)
        found = measured(pairs, seed=seed, sample=sample, distances=distances)
        if json:
            print_json(found.to_dict())
        else:
            _show(found)
        if report is not None:
            write_report(report, _contents(embeddings.name, pairs, found))


def measured(pairs: PairedEmbeddings, *, seed: int, sample: int, distances: bool = False) -> GapReport:
    """Measure, with a bar on stderr."""
    from isthmus.core.gap import measure_gap

    if pairs.repeated:
        note(f"{pairs.repeated} rows repeat an image of the same pair key and were left out")
    with share_bar() as tell:
        steps = iter(range(_STEPS_COUNT + 2))
        return measure_gap(
            pairs.images,
            pairs.texts,
            image_keys=pairs.image_keys,
            text_keys=pairs.text_keys,
            image_labels=pairs.labels,
            label_vectors=pairs.label_vectors,
            seed=seed,
            sample_limit=sample,
            distances=distances,
            progress=lambda stage: tell(min(next(steps) / _STEPS_COUNT, 1.0), stage),
        )


def _contents(subject: str, pairs: PairedEmbeddings, gap: GapReport) -> ReportContents:
    from isthmus.core.gap import Corpus
    from isthmus.evaluation.report import ReportContents, View

    corpus = Corpus.of(pairs.images, pairs.texts, image_keys=pairs.image_keys, text_keys=pairs.text_keys)
    return ReportContents(subject=subject, before=View.of(corpus, gap=gap))


def _show(report: GapReport) -> None:
    headings = ("value", "95 % interval", "noise floor", "pairs")
    print_table(
        table("measure", *headings, "reads", title="The gap", right=headings),
        (
            (name, _number(figure.value), _interval(figure), _number(figure.noise_floor), n, reading)
            for name, figure, n, reading in _rows(report)
        ),
    )
    if report.retrieval is not None:
        _show_retrieval(report.retrieval)
    if report.distances is not None:
        _show_distances(report.distances)
    _show_labels(report)
    for name, reason in report.missing.items():
        note(f"not measured: {name.replace('_', ' ')}: {reason}")
    sampled = f", costly measures on {report.sample_count} of them" if report.sample_count < report.n else ""
    note(f"{report.n} pairs ({report.image_count} images, {report.text_count} texts){sampled}, seed {report.seed}")


def _rows(report: GapReport) -> Iterator[tuple[str, Figure, int, str]]:
    """Yield name, figure, pairs looked at and a reading for whatever was measured."""
    yield from _mean_rows(report)
    yield from _cloud_rows(report)
    yield from _neighbor_rows(report)


def _mean_rows(report: GapReport) -> Iterator[tuple[str, Figure, int, str]]:
    if (one := report.centroid) is not None:
        yield "centroid gap", one.distance, one.n, "distance of the means: 0 none, 2 opposite"
    if (rmg := report.rmg) is not None:
        yield "relative modality gap", rmg.ratio, rmg.n, "0 pairs coincide, 0.5 pairs are as far as strangers"
    if (paired := report.paired_cosine) is not None:
        yield "paired cosine", paired.cosine, paired.n, "of a match; the floor is that of strangers"
    if (spread := report.uniformity) is not None:
        yield "alignment", spread.alignment, spread.n, "mean squared distance of a pair"
        yield "uniformity, images", spread.image_uniformity, spread.n, "lower uses more of the sphere"
        yield "uniformity, texts", spread.text_uniformity, spread.n, ""
        yield "uniformity, both", spread.joint_uniformity, spread.n, ""


def _cloud_rows(report: GapReport) -> Iterator[tuple[str, Figure, int, str]]:
    if (fid := report.fid) is not None:
        yield "FID (squared)", fid.fid, fid.n, "squared W2 of fitted Gaussians"
    if (sliced := report.sliced_w2) is not None:
        yield "sliced W2", sliced.w2, sliced.n, f"over {sliced.direction_count} directions"
    if (sinkhorn := report.sinkhorn) is not None:
        yield "Sinkhorn divergence", sinkhorn.divergence, sinkhorn.n, "cost of moving one cloud onto the other"
    if (mmd := report.mmd) is not None:
        yield "MMD (squared)", mmd.squared, mmd.n, "0 no smooth function tells them apart"
    if (apart := report.separability) is not None:
        yield "linear separability", apart.accuracy, apart.n, "1 a plane tells them apart, 0.5 it cannot"


def _neighbor_rows(report: GapReport) -> Iterator[tuple[str, Figure, int, str]]:
    if (mixing := report.heterogeneity) is not None:
        for ratio, rank, side, sought in (
            ("ITR", "TMR", mixing.image_query, "text"),
            ("TIR", "IMR", mixing.text_query, "image"),
        ):
            full = ", saturated" if side.saturated else ""
            yield (
                ratio,
                side.ratio,
                mixing.n,
                f"{side.own_count} find their own modality first, {side.other_count} the other{full}",
            )
            yield f"{rank} (mean)", side.mean_rank, mixing.n, f"rank of the best {sought}"
            yield f"{rank} (median)", side.median_rank, mixing.n, "1-2 mixed"
    if (nas := report.neighbor_overlap) is not None:
        yield f"neighbour overlap at {nas.k}", nas.overlap, nas.n, "1 both modalities see the same neighbours"
    if (hubs := report.hubness) is not None:
        yield "hubness of images", hubs.images, hubs.n, "Gini: 0 all are found alike, 1 few are found by all"
        yield "hubness of texts", hubs.texts, hubs.n, ""


def _show_retrieval(found: GapRetrieval) -> None:
    sides: tuple[tuple[str, DirectionRetrieval], ...] = (("text → image", found.t2i), ("image → text", found.i2t))
    headings = ("R@1", "95 % interval", "R@5", "R@10", "mAP", "MRR", "diversity")
    print_table(
        table("", *headings, title=f"One modality searched, rSum {found.rsum.value:.1f}", right=headings),
        (
            (
                name,
                percent(side.recall.r1),
                _percents(side.intervals["r1"]),
                percent(side.recall.r5),
                percent(side.recall.r10),
                _number(side.mean_average_precision),
                _number(side.mean_reciprocal_rank),
                _number(side.list_diversity),
            )
            for name, side in sides
        ),
    )
    mixed = ("R@1", "R@10", "R@20", "95 % interval", "nDCG@10", "own share")
    print_table(
        table("", *mixed, title="Both modalities searched, plain cosine", right=mixed),
        (
            (
                name.partition(" ")[0] + " → any",
                percent(side.mixed.r1),
                percent(side.mixed.r10),
                percent(side.mixed.r20),
                _percents(side.intervals["mixed_r20"]),
                percent(side.mixed.ndcg10),
                percent(side.mixed.own_share),
            )
            for name, side in sides
        ),
    )


def _show_distances(found: DistanceComparison) -> None:
    headings = ("text → image R@1", "image → text R@1", "MRR over cosine", "95 % interval")
    print_table(
        table("distance", *headings, title=f"Distances, {found.n} pairs, rows of length one", right=headings),
        (
            (
                name.replace("_", "-"),
                percent(one.t2i_r1.value),
                percent(one.i2t_r1.value),
                f"{one.mrr_over_cosine.value:+.4f}",
                f"{one.mrr_over_cosine.low:+.4f} … {one.mrr_over_cosine.high:+.4f}",
            )
            for name, one in found.figures.items()
        ),
    )


def _show_labels(report: GapReport) -> None:
    rows: list[tuple[str, str, str]] = []
    if (clusters := report.homogeneity) is not None:
        rows.append(("clusters by label", _number(clusters.by_label), f"{clusters.label_count} clusters of both"))
        rows.append(("clusters by modality", _number(clusters.by_modality), "1 every cluster is of one modality"))
    if (classes := report.zero_shot) is not None:
        accuracy = f"{percent(classes.accuracy.value)} ({_percents(classes.accuracy)})"
        rows.append(("zero-shot accuracy", accuracy, f"{classes.label_count} labels, {classes.n} images"))
    if rows:
        print_table(table("labels", "value", "reads", title="Labels", right=("value",)), rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"  # noqa: PLR2004


def _interval(figure: Figure) -> str:
    return f"{_number(figure.low)} … {_number(figure.high)}"


def _percents(figure: Figure) -> str:
    return f"{100 * figure.low:.1f} … {100 * figure.high:.1f}"
