"""Slices of the held-out queries: who is in which, and what is said of each."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from isthmus.core import Modality, NotEnoughItemsError, ShapeError
from isthmus.core.aligners import Label
from isthmus.core.changes import Change, Difference
from isthmus.core.details import DetailRequest
from isthmus.core.errors import OptionError
from isthmus.core.gap import Corpus, Figure
from isthmus.core.notes import ItemNotes, agreed_values, word_count
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.recipe import fit_and_judge, verify_artefact
from isthmus.core.slices import LENGTH_BANDS, SLICES_MAX_COUNT, SliceKind, SlicePlan, SliceRequest
from tests.unit.core.conftest import SPACE, Pairs

MakePairs = Callable[..., Pairs]
BY_ATTRIBUTE = SliceRequest(by_attribute=True)
BY_LENGTH = SliceRequest(by_caption_length=True)


def notes(*values: str, modality: str = "i", words: tuple[int, ...] = ()) -> ItemNotes:
    """Return notes on as many items as there are values."""
    return ItemNotes(ids=[f"{modality}{row}" for row in range(len(values))], values=values, words=words)


def plan(
    request: SliceRequest, images: ItemNotes, texts: ItemNotes, image_keys: str, text_keys: str, **more: object
) -> SlicePlan:
    """Cut items whose pair keys are single letters."""
    return SlicePlan.of(
        request,
        notes={Modality.IMAGE: images, Modality.TEXT: texts},
        keys={Modality.IMAGE: [*image_keys], Modality.TEXT: [*text_keys]},
        **more,  # type: ignore[arg-type]
    )


def members(found: SlicePlan, kind: SliceKind) -> dict[str, tuple[list[int], list[int]]]:
    """Return the rows of images and of texts in each slice of a kind."""
    return {
        one.value: (
            np.flatnonzero(one.members[Modality.IMAGE]).tolist(),
            np.flatnonzero(one.members[Modality.TEXT]).tolist(),
        )
        for one in found.slices
        if one.kind is kind
    }


def test_an_item_without_a_value_takes_the_one_its_pair_agrees_on() -> None:
    """Photos carry the category, captions follow; a pair of two minds gives none; an item's own value always counts."""
    texts = notes("", "caps", "", "", "x", "y", "", modality="t")
    found = plan(BY_ATTRIBUTE, notes("boots", "hats", "", "", "gloves"), texts, "abcde", "aabbcce")
    assert members(found, SliceKind.ATTRIBUTE) == {
        "hats": ([1], [2, 3]),
        "gloves": ([4], [6]),
        "boots": ([0], []),
        "caps": ([], [1]),
        "x": ([], [4]),
        "y": ([], [5]),
    }
    assert found.without == {SliceKind.ATTRIBUTE: 3}
    assert found.slices[0].kind is SliceKind.ALL
    assert all(chosen.all() for chosen in found.slices[0].members.values())


def test_slices_of_an_attribute_are_ordered_by_size() -> None:
    """The largest first, equal ones by name, so that a report reads the same every time."""
    found = plan(BY_ATTRIBUTE, notes("c", "b", "a", "c"), notes(*[""] * 4, modality="t"), "abcd", "efgh")
    assert list(members(found, SliceKind.ATTRIBUTE)) == ["c", "a", "b"]


def test_captions_fall_into_bands_of_words() -> None:
    """Both ends of a band are inside; a length that is not known is in none."""
    ends = (1, 5, 6, 8, 9, 12, 13, 20, 21, 40, 41, 9_000, 0)
    texts = ItemNotes(ids=[f"t{row}" for row in range(len(ends))], words=ends)
    images = ItemNotes(ids=["i0"], words=[0])
    found = plan(BY_LENGTH, images, texts, "a", "bcdefghijklmn")
    assert members(found, SliceKind.CAPTION_LENGTH) == {
        band: ([], [2 * place, 2 * place + 1]) for place, band in enumerate(LENGTH_BANDS)
    }
    assert found.without == {SliceKind.CAPTION_LENGTH: 2}
    assert [word_count(text) for text in ("", "one", " two  words\n", "a-b c")] == [0, 1, 2, 2]


def test_words_of_scripts_without_spaces_are_counted_by_letters() -> None:
    """The first sentence of the Universal Declaration of Human Rights has twelve words, give or take three."""
    said = {
        "All human beings are born free and equal in dignity and rights.": 12,
        "人人生而自由、在尊严和权利上一律平等。": 9,
        "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。": 15,
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ": 12,
        "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ ສິດທິ ເສລີພາບແລະຄວາມສະເໝີພາບເທົ່າທຽມກັນ": 13,
        "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ": 11,
    }
    assert {text: word_count(text) for text in said} == said
    assert word_count("手机壳 iPhone 13、红色") == 5
    assert word_count("がぎぐ") == word_count(unicodedata.normalize("NFD", "がぎぐ")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "two - words, 1/2 & more 🙂",
        "모든 인간은 태어날 때부터 자유로우며",
        "Все люди рождаются свободными",  # noqa: RUF001
        "يولد جميع الناس أحرارًا",
        "सभी मनुष्यों को गौरव",
        "Tất cả mọi người sinh ra",
    ],
)
def test_words_between_spaces_are_the_runs_between_them(text: str) -> None:
    """Whatever is in them: scripts that write spaces are counted by these alone."""
    assert word_count(text) == len(text.split())


def test_a_list_of_queries_says_what_became_of_every_id() -> None:
    """By its place on the list: judged, learned from, or unknown; an id that is there twice counts once."""
    request = SliceRequest(query_ids=["t1", "gone", "i0", "l7", "t1"])
    found = plan(request, notes("", ""), notes("", "", modality="t"), "ab", "ab", learned_ids=["l7", "t1"])
    assert members(found, SliceKind.QUERIES) == {"": ([0], [1])}
    assert found.queries is not None
    assert found.queries.to_dict() == {"given": 5, "judged": 2, "learned": [4], "unknown": [2]}
    request = replace(request, query_ids=["gone", "l7"])
    with pytest.raises(NotEnoughItemsError, match="none of 2 is a held-out item; 1 may have been fitted on, 1 are of"):
        plan(request, notes(""), notes("", modality="t"), "a", "a", learned_ids=["l7"])


def test_what_cannot_be_cut_is_refused() -> None:
    """No value, no length, too many values: each with what helps; the limit itself is accepted."""
    nothing = notes("", ""), notes("", "", modality="t"), "ab", "ab"
    with pytest.raises(OptionError, match=r"slices.attribute: no held-out item has a value of it"):
        plan(BY_ATTRIBUTE, *nothing)
    with pytest.raises(OptionError, match="no held-out caption is known; index the texts again"):
        plan(BY_LENGTH, *nothing)
    values = [f"v{number}" for number in range(SLICES_MAX_COUNT)]
    keys = "".join(chr(0x400 + number) for number in range(SLICES_MAX_COUNT + 1))
    assert len(plan(BY_ATTRIBUTE, notes(*values), notes(modality="t"), keys[:-1], "").slices) == SLICES_MAX_COUNT + 1
    with pytest.raises(OptionError, match="33 different values among the held-out items; the limit is 32"):
        plan(BY_ATTRIBUTE, notes(*values, "one more"), notes(modality="t"), keys, "")
    with pytest.raises(ShapeError, match="one value and one number of words for each id"):
        ItemNotes(ids=["a", "b"], values=["x"])


def test_what_a_difference_says_follows_from_its_interval() -> None:
    """Above zero rises, below falls, inside the allowance is kept, anything else and fewer than 16 keys is too few."""
    intervals = [(0.01, 0.1, 16), (-0.1, -0.01, 16), (-0.02, 0.1, 16), (-0.03, 0.1, 16), (0.01, 0.1, 15)]
    said = [
        Difference.of(Figure(value=low, low=low, high=high), pair_count=count, allowed=0.02).change
        for low, high, count in intervals
    ]
    assert said == [Change.RISES, Change.FALLS, Change.KEPT, Change.TOO_FEW, Change.TOO_FEW]


def _noted(pairs: Pairs, *, season: Callable[[int], str]) -> RawPairs:
    """Return pairs with notes: a season a thing, on its photo alone, and captions of one to fifteen words."""
    things = [int(key.removeprefix("thing-")) for key in pairs.image_keys]
    return RawPairs(
        images=pairs.images,
        texts=pairs.texts,
        image_keys=pairs.image_keys,
        text_keys=pairs.text_keys,
        image_space=SPACE,
        text_space=SPACE,
        notes={
            Modality.IMAGE: ItemNotes(
                ids=[f"photo-{thing}" for thing in things],
                values=[season(thing) for thing in things],
                words=[0] * len(things),
            ),
            Modality.TEXT: ItemNotes(
                ids=[f"caption-{row}" for row in range(len(pairs.text_keys))],
                values=[""] * len(pairs.text_keys),
                words=[row % 15 + 1 for row in range(len(pairs.text_keys))],
            ),
        },
    )


def _season(thing: int) -> str:
    return "winter" if thing % 10 == 0 else "summer"


def test_a_slice_that_gets_worse_shows_behind_an_average_that_rises(make_pairs: MakePairs) -> None:
    """A planted harm: the captions of one season in ten lie where their photos do; an aligner takes away a gap."""
    made = make_pairs(count=1_500, captions=1)
    pairs = _noted(made, season=_season)
    artefact, _ = fit_and_judge("center", pairs, label=Label(aligner_id="a", created_by="a test"))
    learned, judged = pairs.split()
    photo_of = {key: row for row, key in enumerate(judged.image_keys)}
    texts = np.stack(
        [
            judged.images[photo_of[key]] if _season(int((key or "").removeprefix("thing-"))) == "winter" else text
            for key, text in zip(judged.text_keys, judged.texts, strict=True)
        ]
    )
    harmed = verify_artefact(
        artefact,
        replace(judged, texts=texts),
        learned=learned,
        details=DetailRequest(slices=SliceRequest(by_attribute=True, by_caption_length=True)),
    )
    assert harmed.slices is not None
    summer, winter = (one for one in harmed.slices.slices if one.kind is SliceKind.ATTRIBUTE)
    assert (summer.value, winter.value) == ("summer", "winter")
    name = "mixed.text_query.ndcg10"
    whole = harmed.slices.slices[0]
    # +0.33 [0.26, 0.39] in all, +0.44 [0.40, 0.49] of 258 pairs in summer, -1.00 of 23 in winter
    assert whole.differences[name].change is Change.RISES
    assert summer.differences[name].change is Change.RISES
    assert winter.differences[name].change is Change.FALLS
    assert summer.pair_count + winter.pair_count == harmed.guard.pair_count
    assert whole.before == {name: harmed.before[name] for name in ("recall", "mixed")}
    assert whole.after == {name: harmed.after[name] for name in ("recall", "mixed")}
    lengths = [one for one in harmed.slices.slices if one.kind is SliceKind.CAPTION_LENGTH]
    assert [one.value for one in lengths] == ["1-5", "6-8", "9-12", "13-20"]
    assert sum(one.query_counts[Modality.TEXT] for one in lengths) == len(judged.texts)


def test_a_whole_is_the_mean_of_its_slices(make_pairs: MakePairs) -> None:
    """Second route: weighed by their queries, the figures of a partition give those of all; so do the differences."""
    pairs = _noted(make_pairs(count=400, captions=2), season=lambda thing: f"s{thing % 3}")
    artefact, _ = fit_and_judge("center", pairs, label=Label(aligner_id="a", created_by="a test"))
    learned, judged = pairs.split()
    found = verify_artefact(artefact, judged, learned=learned, details=DetailRequest(slices=BY_ATTRIBUTE)).slices
    assert found is not None
    whole, *parts = found.slices
    for query, name in ((Modality.IMAGE, "mixed.image_query.ndcg10"), (Modality.TEXT, "recall.t2i.r1")):
        weights = [part.query_counts[query] for part in parts]
        mean = np.average([part.differences[name].figure.value for part in parts], weights=weights)
        assert mean == pytest.approx(whole.differences[name].figure.value, abs=1e-12)
        group, side, figure = name.split(".")
        of = [part.after[group][side][figure] for part in parts]
        assert np.average(of, weights=weights) == pytest.approx(whole.after[group][side][figure], abs=1e-12)


def test_a_small_slice_is_flagged_and_a_direction_without_queries_has_no_figures(make_pairs: MakePairs) -> None:
    """Fewer than 16 keys: figures are there, and that they tell nothing; a list of captions asks no photo."""
    pairs = _noted(make_pairs(count=400, captions=2), season=str)
    artefact, _ = fit_and_judge("center", pairs, label=Label(aligner_id="a", created_by="a test"))
    learned, judged = pairs.split()
    wanted = list(judged.ids[Modality.TEXT][:20])
    request = SliceRequest(query_ids=wanted)
    found = verify_artefact(artefact, judged, learned=learned, details=DetailRequest(slices=request)).slices
    assert found is not None
    document = found.to_dict()
    listed = document["slices"][-1]
    assert (listed["kind"], listed["n"], listed["queries"]) == ("queries", 10, {"image": 0, "text": 20})
    assert listed["too_few"]
    assert {one["change"] for one in listed["difference"].values()} == {"too few to tell"}
    assert (listed["after"]["recall"]["i2t"], listed["after"]["mixed"]["image_query"]) == (None, None)
    assert listed["after"]["recall"]["t2i"]["r10"] > 0.5  # 1.00 measured
    assert document["query_list"] == {"given": 20, "judged": 20, "learned": [], "unknown": []}


def test_slices_need_notes(make_pairs: MakePairs) -> None:
    """Pairs without ids cannot be asked for."""
    pairs = replace(_noted(make_pairs(count=200), season=str), notes=None)
    artefact, found = fit_and_judge("center", pairs, label=Label(aligner_id="a", created_by="a test"))
    assert found.slices is None
    assert "slices" not in found.to_dict()
    _, judged = pairs.split()
    with pytest.raises(ShapeError, match="slices and gains need the ids"):
        verify_artefact(artefact, judged, details=DetailRequest(slices=BY_LENGTH))
    with pytest.raises(ShapeError, match="notes: need one for each image and for each text"):
        replace(judged, notes={Modality.IMAGE: notes("x"), Modality.TEXT: notes()})


def test_agreement_needs_a_key() -> None:
    """Items without a pair key take nothing from one another."""
    keys = {Modality.IMAGE: [None, ""], Modality.TEXT: ["", None]}
    values = {Modality.IMAGE: ["x", ""], Modality.TEXT: ["", "y"]}
    assert agreed_values(values, keys) == {Modality.IMAGE: ["x", ""], Modality.TEXT: ["", "y"]}


def test_a_corpus_keeps_the_order_of_its_rows(make_pairs: MakePairs) -> None:
    """Slices are masks over rows: the corpus that the figures are of may not reorder them."""
    made = make_pairs(count=40)
    corpus = Corpus.of(made.images, made.texts, image_keys=made.image_keys, text_keys=made.text_keys)
    assert list(corpus.keys[Modality.TEXT]) == made.text_keys
