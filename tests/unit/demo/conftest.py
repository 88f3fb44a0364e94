"""A run of the demo made by hand: answers with known ranks over the real pictures."""

from __future__ import annotations

import pytest

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


@pytest.fixture
def run() -> Run:
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
    )
