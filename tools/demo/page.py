"""The run as one HTML page that needs no other file, no network and no script."""

from __future__ import annotations

import statistics
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from tools.demo.cycle_results import found_share, median_place
from tools.demo.pictures import mirrored_crop, thumbnail
from tools.demo.results import Run, Search, median_rank, own_share, share

__all__ = ["REPORT_NAME", "render_page"]

REPORT_NAME = "colours.html"
"""File beside the page that the mesh drew of the aligner."""

_TEMPLATE = Path(__file__).with_name("page.html.jinja")
_THUMBNAIL_PX = 240
_TOP = 3


def render_page(run: Run) -> str:
    """Render the run for a browser.

    Args:
        run: What the demo measured; its pictures are read again for the thumbnails.

    Returns:
        The whole page. Every text is escaped; every picture is a `data:` address that stands in the page once.
    """
    # The template is a part of this program, so that an undefined name in it is a bug, never an empty place.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["verdict"] = _verdict
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    asked = run.of("text_to_image")
    return template.render(
        run=run,
        top=_TOP,
        thumbnails={p.key: thumbnail(p.path, side_px=_THUMBNAIL_PX) for p in run.pictures},
        crops={p.key: thumbnail(mirrored_crop(p.path), side_px=_THUMBNAIL_PX) for p in run.pictures},
        describe={p.key: p.captions[0] for p in run.pictures},
        sentences={i: c for p in run.pictures for i, c in zip(p.caption_ids(), p.captions, strict=True)},
        directions=[
            ("Sentence → photograph", asked),
            ("Photograph → sentence", run.of("image_to_text")),
            ("Mirrored crop → photograph", run.of("image_to_image")),
            ("Sentence → anything", run.of("text_to_any")),
            ("Photograph → anything", run.of("image_to_any")),
        ],
        by_picture=[(p, [s for s in asked if s.key == p.key]) for p in run.pictures],
        cycle=run.cycle,
        report_name=REPORT_NAME,
        colour_of={f"image/{colour.name}": colour for colour in run.cycle.colours},
        asked_twice=list(zip(run.cycle.asked_before, run.cycle.asked_after, strict=True)),
        found_share=found_share,
        median_place=median_place,
        first_mixed=_first_of_each(run.of("text_to_any")),
        hits=sum(s.rank is not None and s.rank <= _TOP for s in asked),
        share=share,
        median_rank=median_rank,
        text_share=own_share(run.of("text_to_any"), modality="text"),
        image_share=own_share(run.of("image_to_any"), modality="image"),
        p50_ms=statistics.median(s.seconds for s in run.searches) * 1e3,
        p50=lambda searches: statistics.median(s.seconds for s in searches) * 1e3,
    )


def _verdict(rank: int | None) -> str:
    """Return the style of a rank: first, near (in the top 3) or miss."""
    if rank == 1:
        return "first"
    return "near" if rank is not None and rank <= _TOP else "miss"


def _first_of_each(searches: tuple[Search, ...]) -> list[Search]:
    """Return the first search of each picture."""
    kept: dict[str, Search] = {}
    for search in searches:
        kept.setdefault(search.key, search)
    return list(kept.values())
