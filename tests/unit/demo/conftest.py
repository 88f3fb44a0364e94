"""A run of the demo made by hand: answers with known ranks over the real pictures."""

from __future__ import annotations

import pytest

from isthmus.client import Neighbor, StoredItem
from tools.demo.colours import Colour
from tools.demo.cycle_results import Asked, Cycle
from tools.demo.pictures import Picture, load_pictures
from tools.demo.results import Direction, Found, Modality, Run, Search

_BY_SENTENCE: tuple[Direction, ...] = ("text_to_image", "text_to_any")
_BY_PICTURE: tuple[Direction, ...] = ("image_to_text", "image_to_image", "image_to_any")


def _found(picture: Picture, modality: Modality) -> Found:
    item_id = picture.image_id if modality == "image" else picture.caption_ids()[0]
    return Found(item_id=item_id, modality=modality, key=picture.key, score=0.5)


def search(pictures: tuple[Picture, ...], direction: Direction, *, key: str, query: str, rank: int) -> Search:
    """Make a search whose first right answer stands at `rank`, the other pictures around it in their order."""
    modality: Modality = "text" if direction in {"image_to_text", "image_to_any"} else "image"
    others = [_found(p, modality) for p in pictures if p.key != key]
    own = next(_found(p, modality) for p in pictures if p.key == key)
    found = (*others[: rank - 1], own, *others[rank - 1 :])
    return Search(
        direction=direction, key=key, query=query, found=found, rank=rank, seconds=0.004 * rank, encoded=False
    )


def _neighbor(name: str) -> Neighbor:
    item = StoredItem(
        id=f"image/{name}",
        modality="image",
        attributes={},
        pair_key=name,
        space="some@0123456789abcdef",
        embedding=None,
        thumbnail=b"",
        content_digest=b"",
        revision=1,
    )
    return Neighbor(item=item, score=0.5, calibrated_score=0.5, probability=None)


@pytest.fixture
def cycle() -> Cycle:
    """Three colours, two of them asked for: at places 3 and 2 at first, at 1 and 2 then; the guard refuses."""
    colours = (
        Colour("grass", "#00aa00", named=True),
        Colour("ink", "#000022", named=False),
        Colour("milk", "#fffff0", named=False),
    )
    answers = tuple(_neighbor(one.name) for one in colours)
    side = {"r1": 0.25, "r10": 0.5, "r20": 0.75, "ndcg10": 0.375, "own_share": 0.5}
    recall = {direction: {"r1": 0.25, "r5": 0.5, "r10": 0.75} for direction in ("t2i", "i2t")}
    figures = {"n": 3, "recall": recall, "mixed": {"image_query": side, "text_query": side}, "hubness": 0.125}
    gap = {"centroid": 0.5, "separability": 0.875, "rsum": 300.0, "fid": None}
    return Cycle(
        colours=colours,
        gaps={"photographs": gap, "colours": gap | {"centroid": None}},
        pair_counts={"photographs": 4, "colours": 1},
        too_few="pairs: 3 to fit on, at least 64; add pairs",
        shipped="heads@0123456789abcdef",
        fitted="of-colours@fedcba9876543210",
        judged_count=3,
        before=figures,
        after=figures | {"hubness": 0.25},
        guard_reasons=("hubness growth: +0.125 [+0.100, +0.150], must be at most +0.020",),
        refusal="the guard refuses it",
        override="we know <better>",
        asked_before=(Asked(colours[1], answers, 3), Asked(colours[2], answers, 2)),
        asked_after=(Asked(colours[1], answers, 1), Asked(colours[2], answers, 2)),
        compared_count=6,
        seconds={"measuring": 1.5, "fitting": 2.5},
        page="<p>report</p>",
    )


@pytest.fixture
def run(cycle: Cycle) -> Run:
    """Four pictures; of their twelve captions two are misses, at ranks 4 (`brick`) and 4 (`camera`)."""
    pictures = load_pictures().pictures[:4]
    ranks = {("brick", 0): 4, ("camera", 2): 4, ("astronaut", 1): 2, ("chelsea", 1): 3}
    searches: list[Search] = []
    for picture in pictures:
        for number, caption in enumerate(picture.captions):
            place = ranks.get((picture.key, number), 1)
            searches.extend(search(pictures, d, key=picture.key, query=caption, rank=place) for d in _BY_SENTENCE)
        searches.extend(search(pictures, d, key=picture.key, query=picture.key, rank=1) for d in _BY_PICTURE)
    return Run(
        pictures=pictures,
        left_out=(("skimage/data/gone.png", "not carried by the installed scikit-image"),),
        searches=tuple(searches),
        ready_s=6.5,
        index_s=1.25,
        stop_s=0.5,
        total_s=12.0,
        image_space="some-image-encoder@0123456789abcdef",
        text_space="some-text-encoder@0123456789abcdef",
        aligner="some-aligner@0123456789abcdef",
        cycle=cycle,
    )
