"""Slices and gains of a collection, and its labels, through the gateway and real services behind it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.client import (
    AsyncClient,
    FailedPreconditionError,
    Gain,
    GainOptions,
    InvalidArgumentError,
    Item,
    ResourceExhaustedError,
    SliceOptions,
    SpacedVector,
)
from isthmus.core.aligners import Artefact
from isthmus.core.canonical import canonical
from isthmus.core.details import DetailRequest
from isthmus.core.gain import GainRequest
from isthmus.core.gap import measure_gap
from isthmus.core.modality import Modality
from isthmus.core.notes import ItemNotes
from isthmus.core.raw_pairs import RawPairs
from isthmus.core.recipe import verify_artefact
from isthmus.core.slices import SliceRequest
from isthmus.runtime.base.limits import GAIN_ROWS_MAX_COUNT, SLICE_QUERIES_MAX_COUNT
from tests.unit.gateway.dummy_encoder import DummyEncoder, expected_row
from tests.unit.gateway.mesh import gateway_mesh

SPACE = "dual@00000000000000aa"
COUNT, LOOSE = 500, 20
SEASONS = ("summer", "winter")
TEMPLATE = "a photo of {}"


def _season(row: int) -> str:
    return SEASONS[row % 10 == 0]


def _words(row: int) -> int:
    return row % 12 + 1


def _vectors() -> dict[Modality, NDArray[np.float32]]:
    """Return 500 pairs with a gap; a photo leans to what stands for its season."""
    rng = np.random.default_rng(4)
    meaning, gap = rng.normal(size=(COUNT, 16)), 0.8 * rng.normal(size=16)
    label = {
        season: np.frombuffer(expected_row(SPACE, TEMPLATE.format(season).encode(), 16), "<f2").astype(float)
        for season in SEASONS
    }
    lean = np.stack([label[_season(row)] for row in range(COUNT)])
    return {
        Modality.IMAGE: canonical(meaning + 0.7 * rng.normal(size=meaning.shape) + gap + 4.0 * lean),
        Modality.TEXT: canonical(meaning + 0.7 * rng.normal(size=meaning.shape) - gap),
    }


def _items() -> list[Item]:
    """Return the items; the last 20 pairs have lost their keys, and photos alone know the season."""
    vectors = _vectors()
    images = [
        Item(
            id=f"photo-{row}",
            vector=SpacedVector(vector, modality="image", space=SPACE),
            pair_key=f"{row}" if row < COUNT - LOOSE else "",
            attributes={"season": _season(row), "shelf": row % 40},
        )
        for row, vector in enumerate(vectors[Modality.IMAGE])
    ]
    texts = [
        Item(
            id=f"caption-{row}",
            vector=SpacedVector(vector, modality="text", space=SPACE),
            pair_key=f"{row}" if row < COUNT - LOOSE else "",
            content_words=_words(row),
        )
        for row, vector in enumerate(vectors[Modality.TEXT])
    ]
    return [*images, *texts]


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A mesh with the collection `things` and an aligner `middle` that was fitted to it."""
    image, text = (DummyEncoder(modality, space=SPACE) for modality in Modality)
    async with gateway_mesh(data_dir=tmp_path, image=image, text=text) as running:
        async with AsyncClient(running.gateway.address) as client:
            await client.create_collection("things")
            await client.upsert("things", _items())
            await client.fit_aligner("things", aligner_id="middle", method="center")
        yield running.gateway.address


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with AsyncClient(address) as connected:
        yield connected


def _rows() -> list[Gain]:
    """Return a gain for each pair, a cost for a neighbour on the shelf, and a row of nobody."""
    rows = [Gain(f"caption-{row}", f"photo-{row}", 2.0 + row % 3) for row in range(COUNT)]
    rows += [Gain(f"caption-{row}", f"photo-{(row + 40) % COUNT}", -1.0) for row in range(COUNT)]
    return [*rows, Gain("caption-1", "gone", 9.0)]


async def test_slices_and_gain_are_those_of_the_pure_numerics(
    client: AsyncClient, tmp_path: Path, address: str
) -> None:
    """Second route: the same vectors, notes and artefact in numpy alone give the same figures, intervals and rows."""
    wanted = [f"caption-{row}" for row in range(100)] + ["gone"]
    found = await client.verify_aligner(
        "things",
        "middle",
        slices=SliceOptions(attribute="season", caption_length=True, query_ids=wanted),
        gains=GainOptions(rows=_rows(), top_k=5, modality="image"),
        seed=7,
    )
    await client.export_aligner("middle", tmp_path / "middle")
    vectors, keys = _vectors(), [f"{row}" if row < COUNT - LOOSE else "" for row in range(COUNT)]
    pairs = RawPairs(
        images=vectors[Modality.IMAGE],
        texts=vectors[Modality.TEXT],
        image_keys=keys,
        text_keys=keys,
        image_space=SPACE,
        text_space=SPACE,
        notes={
            Modality.IMAGE: ItemNotes(
                ids=[f"photo-{row}" for row in range(COUNT)],
                values=[_season(row) for row in range(COUNT)],
                words=[0] * COUNT,
            ),
            Modality.TEXT: ItemNotes(
                ids=[f"caption-{row}" for row in range(COUNT)],
                values=[""] * COUNT,
                words=[_words(row) for row in range(COUNT)],
            ),
        },
    )
    learned, judged = pairs.split()
    rows = _rows()
    expected = verify_artefact(
        Artefact.load(tmp_path / "middle"),
        judged,
        learned=learned,
        seed=7,
        details=DetailRequest(
            slices=SliceRequest(by_attribute=True, by_caption_length=True, query_ids=wanted),
            gains=GainRequest(
                query_ids=[row.query_id for row in rows],
                item_ids=[row.item_id for row in rows],
                gains=[row.gain for row in rows],
                top_k=5,
                item_modality=Modality.IMAGE,
            ),
            searched=pairs,
        ),
    ).to_dict()
    document = json.loads(found.report_json)
    assert _rounded(document["slices"]) == _rounded(expected["slices"])
    assert _rounded(document["gain"]) == _rounded(expected["gain"])
    assert _rounded(document["after"]) == _rounded(expected["after"])
    assert {one["value"] for one in document["slices"]["slices"] if one["kind"] == "attribute"} == {*SEASONS}
    assert document["slices"]["query_list"]["unknown"] == [101]
    # Queries without a pair count too: nothing was fitted on them.
    assert document["gain"]["queries"] == len(judged.texts) + LOOSE
    assert document["gain"]["skipped"]["unknown_item"] == [2 * COUNT + 1]
    assert document["gain"]["per_1000"]["difference"]["change"] == "rises"  # by 1,385 [1,090, 1,697]
    plain = json.loads((await client.verify_aligner("things", "middle", seed=7)).report_json)
    assert plain == {name: value for name, value in document.items() if name not in {"slices", "gain"}}


def _rounded(value: Any) -> Any:
    """Return figures to eight digits: the mesh reads the items in another order."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 8) if isinstance(value, float) else value


async def test_what_cannot_be_judged_is_refused_with_its_reason(client: AsyncClient) -> None:
    """No value, too many values, no id that is held out, no finite gain, no row: each says what is wrong."""
    refusals: list[tuple[SliceOptions | None, GainOptions | None, type[Exception], str, str]] = [
        (SliceOptions(attribute="colour"), None, InvalidArgumentError, "INVALID_FIELD", "no held-out item has a value"),
        (SliceOptions(attribute="shelf"), None, InvalidArgumentError, "INVALID_FIELD", "the limit is 32"),
        (SliceOptions(query_ids=["gone"]), None, FailedPreconditionError, "NOT_ENOUGH_PAIRS", "none of 1 is a held"),
        (None, GainOptions(rows=[]), InvalidArgumentError, "EMPTY_INPUT", "gains.rows holds no entries"),
        (None, GainOptions(rows=[Gain("a", "b", 1.0), Gain("a", "b", float("nan"))]), InvalidArgumentError,
         "INVALID_FIELD", "row 2 has a gain that is not a finite number"),
        (None, GainOptions(rows=[Gain("", "b", 1.0)]), InvalidArgumentError, "INVALID_FIELD", "row 1 lacks a query id"),
        (None, GainOptions(rows=[Gain("no", "b", 1.0)]), FailedPreconditionError, "NOT_ENOUGH_PAIRS",
         "none of 1 rows can be judged"),
        (None, replace(GainOptions(rows=_rows()[:1]), top_k=1_001), ResourceExhaustedError, "LIMIT_EXCEEDED",
         "gains.top_k is 1001; the limit is 1000"),
        (SliceOptions(attribute="a" * 257), None, ResourceExhaustedError, "LIMIT_EXCEEDED", "slices.attribute has 257"),
    ]  # fmt: skip
    for slices, gains, kind, reason, said in refusals:
        with pytest.raises(kind, match=said) as no:
            await client.verify_aligner("things", "middle", slices=slices, gains=gains)
        assert no.value.reason == reason  # type: ignore[attr-defined]


async def test_the_limits_of_lists_and_tables(client: AsyncClient) -> None:
    """As many as may be are judged, one more is refused before anything is read."""
    rows = [Gain(f"caption-{row % COUNT}", f"photo-{row % 7}", 1.0) for row in range(GAIN_ROWS_MAX_COUNT)]
    ids = [f"caption-{row % COUNT}" for row in range(SLICE_QUERIES_MAX_COUNT)]
    found = await client.verify_aligner(
        "things", "middle", slices=SliceOptions(query_ids=ids), gains=GainOptions(rows=rows)
    )
    document = json.loads(found.report_json)
    assert document["slices"]["query_list"]["given"] == SLICE_QUERIES_MAX_COUNT
    assert document["gain"]["rows"] + sum(map(len, document["gain"]["skipped"].values())) == GAIN_ROWS_MAX_COUNT
    with pytest.raises(ResourceExhaustedError, match=r"gains\.rows holds 20001 entries; the limit is 20000") as no:
        await client.verify_aligner("things", "middle", gains=GainOptions(rows=[*rows, rows[0]]))
    assert no.value.reason == "BATCH_TOO_LARGE"
    with pytest.raises(ResourceExhaustedError, match=r"slices\.query_ids holds 10001 entries; the limit is 10000"):
        await client.verify_aligner("things", "middle", slices=SliceOptions(query_ids=[*ids, "one more"]))


async def test_images_are_classified_by_the_text_of_their_label(client: AsyncClient) -> None:
    """Second route: the pure numerics with the label vectors the encoder makes; through a template, and without one."""
    vectors, keys = _vectors(), [f"{row}" for row in range(COUNT - LOOSE)]
    paired = {modality: rows[: COUNT - LOOSE] for modality, rows in vectors.items()}
    for template, told in ((TEMPLATE, ""), (None, "{}")):
        found = await client.measure_gap("things", label_attribute="season", label_template=template or "", seed=2)
        document = json.loads(found.report_json)
        expected = measure_gap(
            paired[Modality.IMAGE],
            paired[Modality.TEXT],
            image_keys=keys,
            text_keys=keys,
            image_labels=[_season(row) for row in range(COUNT - LOOSE)],
            label_vectors={
                season: np.frombuffer(
                    expected_row(SPACE, (template or told).replace("{}", season).encode(), 16), "<f2"
                ).astype(np.float32)
                for season in SEASONS
            },
            seed=2,
        ).to_dict()
        for name in ("zero_shot", "homogeneity"):
            assert _rounded(document["measures"][name]) == _rounded(expected["measures"][name]), (template, name)
    through = json.loads(
        (await client.measure_gap("things", label_attribute="season", label_template=TEMPLATE)).report_json
    )
    assert through["measures"]["zero_shot"]["accuracy"]["value"] > 0.9  # 0.99 measured; 0.90 are of the commonest label
    aligned = json.loads(
        (
            await client.measure_gap("things", label_attribute="season", label_template=TEMPLATE, aligner="middle")
        ).report_json
    )
    assert aligned["measures"]["zero_shot"]["n"] == COUNT - LOOSE
    plain = json.loads((await client.measure_gap("things")).report_json)
    assert not {"zero_shot", "homogeneity"} & (plain["measures"].keys() | plain["missing"].keys())


async def test_labels_that_are_none_are_refused_or_told(client: AsyncClient) -> None:
    """No value is refused, and a template without a place; vectors of another encoder are told as not classified."""
    with pytest.raises(InvalidArgumentError, match="label_attribute: no item of the collection has a value of it"):
        await client.measure_gap("things", label_attribute="colour")
    with pytest.raises(InvalidArgumentError, match=r"label_template must hold \{\} in the label's place"):
        await client.measure_gap("things", label_attribute="season", label_template="a photo")
    with pytest.raises(ResourceExhaustedError, match="label_attribute has 257 bytes; the limit is 256"):
        await client.measure_gap("things", label_attribute="a" * 257)
    other = "other@00000000000000bb"
    await client.create_collection("given", image_space=other, text_space=other, image_dimension=16, text_dimension=16)
    items = [
        replace(item, vector=SpacedVector(item.vector.values, modality=item.vector.modality, space=other))
        for item in _items()
        if item.vector is not None and int(item.id.partition("-")[2]) < 100
    ]
    await client.upsert("given", items)
    document = json.loads((await client.measure_gap("given", label_attribute="season")).report_json)
    assert "not of the mesh's text encoder" in document["missing"]["zero_shot"]
    assert document["measures"]["homogeneity"]["label_count"] == 2
    many = [replace(item, attributes={"sku": item.id}) for item in items if item.id.startswith("photo")]
    more = [replace(item, id=f"more-{row}-{item.id}", attributes={"sku": f"{row} {item.id}"}, pair_key="")
            for row in range(2) for item in many]  # fmt: skip
    await client.upsert("given", [*many, *more])
    with pytest.raises(ResourceExhaustedError, match="the attribute has 300 different values; the limit is 256"):
        await client.measure_gap("given", label_attribute="sku")


async def test_the_command_line_asks_and_shows(client: AsyncClient, address: str, tmp_path: Path) -> None:
    """A CSV of gains and a list of ids go out, tables and one JSON document come back."""
    (tmp_path / "gains.csv").write_text(
        "query_id,item_id,gain\n" + "".join(f"{row.query_id},{row.item_id},{row.gain}\n" for row in _rows())
    )
    (tmp_path / "queries.txt").write_text("\n".join(f"caption-{row}" for row in range(200)))

    async def run(*arguments: object) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "isthmus.cli", *map(str, arguments), "--address", address,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    asked = (
        "align", "verify", "--aligner", "middle", "--collection", "things", "--slice-attribute", "season",
        "--slice-caption-length", "--queries", tmp_path / "queries.txt", "--gains", tmp_path / "gains.csv",
        "--top-k", "5", "--gains-modality", "image",
    )  # fmt: skip
    status, out, err = await run(*asked, "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    report = await client.verify_aligner("things", "middle", gains=GainOptions(rows=_rows(), top_k=5, modality="image"))
    assert document["gain"] == json.loads(report.report_json)["gain"]
    assert [one["value"] for one in document["slices"]["slices"]] == [
        "", "summer", "winter", "1-5", "6-8", "9-12", ""
    ]  # fmt: skip
    status, out, err = await run(*asked)
    assert status == 0
    assert all(
        word in out for word in ("winter", "6-8 words", "listed queries", "Expected gain, the first 5 of images")
    )
    assert f"unknown item: {2 * COUNT + 1}" in err
    status, out, err = await run(
        "measure", "--collection", "things", "--label-attribute", "season", "--label-template", TEMPLATE
    )
    assert (status, "zero-shot accuracy" in out, "clusters by label" in out) == (0, True, True)
