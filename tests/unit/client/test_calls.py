"""What each call about items and searches sends and returns: every test here runs on both clients."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.client import (
    AlreadyExistsError,
    AsyncClient,
    Client,
    ClientConfig,
    Example,
    F,
    GuardLimits,
    Input,
    InvalidArgumentError,
    Item,
    Limits,
    NotFoundError,
    ServedRecall,
    SpacedVector,
)
from tests.unit.client.both_clients import Both
from tests.unit.client.small_gateway import (
    ALIGNER,
    BROKEN_IMAGE,
    IMAGE_SPACE,
    TEXT_SPACE,
    Running,
    SmallGateway,
    embedding,
)


async def test_embeddings_come_back_in_order_over_several_messages(call: Both, gateway: SmallGateway) -> None:
    """Five images and four texts take three messages; rows and their numbers are those of one call."""
    images = [bytes([n]) for n in range(5)]
    texts = ["a", "b", "c", "d"]
    result = await call("embed", images=images, texts=texts)
    assert gateway.calls["Embed"] == 3
    assert result.images.indexes.tolist() == [0, 1, 2, 3, 4]
    assert result.texts.indexes.tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(result.images.vectors, [embedding(image) for image in images])
    np.testing.assert_array_equal(result.texts.vectors, [embedding(text.encode()) for text in texts])
    assert (result.images.space, result.texts.space) == (IMAGE_SPACE, TEXT_SPACE)
    assert (result.images.vectors.dtype, result.images.indexes.dtype) == (np.float32, np.int64)
    assert result.timings.cache_misses == 9
    result.raise_for_errors()


async def test_a_refused_input_is_named_and_leaves_a_gap(call: Both) -> None:
    """Errors and cut texts carry the number of the input in the whole call; `vector` finds rows and refusals."""
    inputs = [
        Input(text="a"),
        Input(image=b"b"),
        Input(image=BROKEN_IMAGE),
        Input(text="this is a text of more than 20"),
        Input(text=" "),
    ]
    result = await call("embed", inputs=inputs)
    assert [(e.index, e.code, e.reason) for e in result.errors] == [
        (2, "INVALID_ARGUMENT", "INVALID_IMAGE"),
        (4, "INVALID_ARGUMENT", "EMPTY_TEXT"),
    ]
    assert (result.images.indexes.tolist(), result.texts.indexes.tolist()) == ([1], [0, 3])
    assert result.truncated == (3,)
    np.testing.assert_array_equal(result.vector(1), embedding(b"b"))
    with pytest.raises(InvalidArgumentError, match="INVALID_IMAGE"):
        result.vector(2)
    with pytest.raises(IndexError):
        result.vector(5)
    with pytest.raises(InvalidArgumentError):
        result.raise_for_errors()


async def test_embedding_nothing_returns_nothing(call: Both, gateway: SmallGateway) -> None:
    """No inputs make no call; the result is empty, with empty arrays."""
    result = await call("embed")
    assert (len(result.images), len(result.texts), result.errors) == (0, 0, ())
    assert gateway.calls["Embed"] == 0


async def test_a_text_in_place_of_a_list_is_refused_here(call: Both) -> None:
    """`texts="abc"` would embed three letters; it is a ValueError that says what to write."""
    with pytest.raises(ValueError, match="embed\\(texts=\\[text\\]\\)"):
        await call("embed", texts="abc")


async def test_an_input_larger_than_a_message_is_refused_alone(server: Running) -> None:
    """Its neighbours are embedded."""
    config = ClientConfig(limits=Limits(message_max_bytes=5000, chunk_max_bytes=5000))
    with Client(server.address, config=config) as client:
        result = client.embed(images=[b"a", bytes(6000)])
        alone = client.embed(images=[bytes(6000)])
    assert (result.images.indexes.tolist(), [e.reason for e in result.errors]) == ([0], ["MESSAGE_TOO_LARGE"])
    assert [e.index for e in alone.errors] == [0]


async def test_the_aligner_and_the_truncation_are_sent(call: Both, gateway: SmallGateway) -> None:
    """Options travel as they are named."""
    result = await call("embed", texts=["a"], aligner=ALIGNER, truncation="refuse")
    assert result.texts.space == ALIGNER
    assert gateway.requests["Embed"][0].truncation == 2
    with pytest.raises(ValueError, match="truncation must be flag or refuse"):
        await call("embed", texts=["a"], truncation="drop")


async def test_search_by_text(filled: Both) -> None:
    """The nearest item comes first, with everything the wire says about it."""
    result = await filled("search", "c", text="cat", modality="text", top_k=2)
    first, second = result.neighbors
    assert (first.id, first.modality, first.item.pair_key) == ("cat#0", "text", "cat")
    assert first.item.attributes == {"text": "cat"}
    assert first.score == pytest.approx(1, abs=1e-3)
    assert first.calibrated_score == pytest.approx(2, abs=1e-2)
    assert (first.probability, first.item.embedding, first.item.thumbnail) == (0.5, None, b"small" * 0)
    assert second.id == "dog#0"
    assert (result.space, result.calibration, result.degraded, result.truncated) == (
        ALIGNER,
        "fitted",
        ("cache",),
        False,
    )
    assert result.timings.total_micros == 1500


async def test_search_by_image_path(filled: Both, tmp_path: Path) -> None:
    """A str is a path."""
    path = tmp_path / "query.jpg"
    path.write_bytes(b"dog")
    result = await filled("search", "c", image=str(path), modality="image", top_k=1)
    assert [neighbor.id for neighbor in result.neighbors] == ["dog.jpg"]


async def test_search_by_vector(filled: Both) -> None:
    """A vector travels with its modality and space."""
    vector = SpacedVector(embedding(b"cat"), modality="image", space=IMAGE_SPACE)
    result = await filled("search", "c", vector=vector, top_k=1)
    assert [neighbor.id for neighbor in result.neighbors] in (["cat.jpg"], ["cat#0"])


async def test_search_by_item(filled: Both) -> None:
    """An item is left out of its own answers; an unknown one is NOT_FOUND."""
    result = await filled("search", "c", item_id="cat.jpg")
    assert {neighbor.id for neighbor in result.neighbors} == {"dog.jpg", "cat#0", "dog#0"}
    with pytest.raises(NotFoundError, match="ITEM_NOT_FOUND"):
        await filled("search", "c", item_id="bird")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of text, image, vector, item_id, examples; 0 are given"),
        ({"text": "a", "item_id": "b"}, "exactly one of text, image, vector, item_id, examples; 2 are given"),
        ({"text": "a", "top_k": 0}, "top_k is 0; the least is 1"),
        ({"text": "a", "modality": "sound"}, "modality must be image, text or any"),
        ({"text": "a", "group_by": "colour"}, "group_by is 'colour'; it may be 'pair_key' or None"),
    ],
)
async def test_a_search_that_makes_no_sense_is_refused_here(call: Both, wrong: dict[str, Any], message: str) -> None:
    """No query, two queries, nothing wanted, an unknown modality: a ValueError before anything is sent."""
    with pytest.raises(ValueError, match=message):
        await call("search", "c", **wrong)


async def test_get_and_delete_items(filled: Both) -> None:
    """Items come in the order asked, absent ones left out; deleted ones are gone at the revision returned."""
    found = await filled("get_items", "c", ["dog.jpg", "bird", "cat.jpg"], include_embeddings=True)
    assert [item.id for item in found.items] == ["dog.jpg", "cat.jpg"]
    np.testing.assert_array_equal(found.items[1].embedding, embedding(b"cat"))
    assert len(found.items[0].content_digest) == 32
    gone = await filled("delete", "c", ["dog.jpg", "bird"])
    assert (gone.deleted, gone.revision) == (1, found.revision + 1)
    assert (await filled("get_items", "c", ["dog.jpg"])).items == ()
    with_thumbnails = await filled("get_items", "c", ["cat.jpg"], include_thumbnails=True)
    assert with_thumbnails.items[0].thumbnail == b"small"


async def test_erased_items_are_gone_and_gaps_are_told(filled: Both) -> None:
    """With the time of the last copy; a place that only a newer mesh knows has a name too."""
    erased = await filled("erase", "c", ["dog.jpg", "bird"])
    assert (erased.deleted, erased.time.timestamp()) == (1, 1_700_000_000)
    assert erased.gaps == ("backups", "gap_77")
    assert (await filled("get_items", "c", ["dog.jpg"])).items == ()


async def test_many_ids_take_several_messages(filled: Both, gateway: SmallGateway) -> None:
    """2,500 ids are three gets and three deletes, each delete a mutation of its own; with embeddings, twenty gets."""
    ids = [f"i{n}" for n in range(2500)]
    await filled("get_items", "c", ids)
    assert [len(r.ids) for r in gateway.requests["GetItems"]] == [1000, 1000, 500]
    await filled("get_items", "c", ids, include_embeddings=True)
    assert gateway.calls["GetItems"] == 3 + 20
    result = await filled("delete", "c", ids, request_id="d")
    assert [r.request_id for r in gateway.requests["DeleteItems"]] == ["d-0", "d-1", "d-2"]
    assert result.deleted == 0


async def test_collections_come_and_go(call: Both) -> None:
    """Create, get, list, delete; twice the same name and a name that is not there have their reasons."""
    created = await call("create_collection", "photos")
    assert (created.image_space, created.text_space, created.aligner) == (IMAGE_SPACE, TEXT_SPACE, ALIGNER)
    assert await call("get_collection", "photos") == created
    limits = GuardLimits(epsilon=0.0)
    art = await call("create_collection", "art", image_space="mine@0123456789abcdef", image_dimension=4, guard=limits)
    assert (created.guard, art.guard) == (GuardLimits(), limits)
    assert [collection.name for collection in await call("list_collections")] == ["art", "photos"]
    with pytest.raises(AlreadyExistsError, match="COLLECTION_EXISTS"):
        await call("create_collection", "photos")
    assert await call("delete_collection", "photos") is None
    with pytest.raises(NotFoundError, match="COLLECTION_NOT_FOUND"):
        await call("get_collection", "photos")


async def test_status_says_what_the_mesh_is_made_of(call: Both) -> None:
    """Encoders, cache, services, default aligner and notices."""
    status = await call("status")
    assert [(e.space, e.modality, e.encoded_items) for e in status.encoders] == [
        (IMAGE_SPACE, "image", 12),
        (TEXT_SPACE, "text", 12),
    ]
    assert (status.cache.backend, status.cache.local_hits) == ("redis", 4)
    assert (status.index_writer_serving, status.alignment_serving) == (True, False)
    assert status.notices == ("The shipped aligner is for research and education only.",)


async def test_reads_see_this_clients_writes(filled: Both, gateway: SmallGateway) -> None:
    """Every read asks for at least the newest revision this client wrote, unless the caller says otherwise."""
    await filled("search", "c", text="a")
    await filled("get_items", "c", ["a"])
    await filled("evaluate", "c")
    await filled("search", "c", text="a", min_revision=0)
    newest = gateway.collections["c"].revision
    assert [r.min_revision for r in gateway.requests["SearchItems"]] == [newest, 0]
    assert gateway.requests["GetItems"][0].min_revision == newest
    assert gateway.requests["Evaluate"][0].min_revision == newest
    promoted = await filled("promote_aligner", "c", ALIGNER)
    deleted = await filled("delete", "c", ["dog.jpg"])
    assert deleted.revision == promoted.revision + 1
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == deleted.revision


async def test_a_search_with_a_filter_finds_what_matches(call: Both) -> None:
    """Only items whose attributes match are answers, and no filter is sent where none is given."""
    await call("create_collection", "shop")
    items = [Item(id=f"item {price}", text=str(price), attributes={"price": price}) for price in range(5)]
    await call("upsert", "shop", items)
    found = await call("search", "shop", text="3", where=(F("price") >= 1) & (F("price") != 3))
    assert {neighbor.id for neighbor in found.neighbors} == {"item 1", "item 2", "item 4"}
    assert len((await call("search", "shop", text="3")).neighbors) == 5


async def test_search_by_examples(call: Both, gateway: SmallGateway, tmp_path: Path) -> None:
    """Texts, images by path, vectors and items with their weights; items among them are no answers."""
    await call("create_collection", "c")
    await call("upsert", "c", [Item(id=name, text=name) for name in ("cat", "dog", "bird")])
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"dog")
    vector = SpacedVector(embedding(b"dog"), modality="text", space=TEXT_SPACE)
    examples = [
        Example(text="dog"),
        Example(image=str(path), weight=2.0),
        Example(vector=vector),
        Example(item_id="cat", weight=-0.5),
    ]
    found = await call("search", "c", examples=examples)
    assert [neighbor.id for neighbor in found.neighbors] == ["dog", "bird"]
    sent = gateway.requests["SearchItems"][-1].examples.examples
    assert [each.WhichOneof("content") for each in sent] == ["text", "image", "vector", "item_id"]
    assert [each.weight for each in sent] == [1.0, 2.0, 1.0, -0.5]
    assert sent[1].image == b"dog"
    with pytest.raises(ValueError, match="an Example takes exactly one of text, image, vector, item_id; 2 are given"):
        Example(text="a", item_id="b")


async def test_a_search_goes_on_page_by_page(call: Both) -> None:
    """With the token of the page before; the last page has none."""
    await call("create_collection", "shop")
    await call("upsert", "shop", [Item(id=str(number), text=str(number)) for number in range(5)])
    pages: list[list[str]] = []
    token: str | None = None
    while token != "":
        found = await call("search", "shop", text="3", top_k=2, page_token=token)
        pages.append([neighbor.id for neighbor in found.neighbors])
        token = found.next_page_token
    assert [len(page) for page in pages] == [2, 2, 1]
    together = [item_id for page in pages for item_id in page]
    assert together == [neighbor.id for neighbor in (await call("search", "shop", text="3")).neighbors]


async def test_a_collection_names_its_structure_and_tells_what_it_has(call: Both, gateway: SmallGateway) -> None:
    """What became of it, its recall and its memory; a kind that there is not is refused before anything is sent."""
    made = await call("create_collection", "photos", index="ivf_sq8")
    assert made.index == "ivf_sq8"
    ready, refused = made.structures
    assert (ready.modality, ready.state, ready.kind, ready.recall, ready.cross_modal) == (
        "image",
        "ready",
        "ivf_sq8",
        0.9625,
        True,
    )
    assert ready.served == ServedRecall(
        recall=0.925, target=0.95, query_count=100, real=True, revision=1, time_micros=1_700_000_000_000_000
    )
    assert refused.served is None
    assert (refused.state, refused.kind, refused.recall, refused.needed_bytes) == (
        "over_budget",
        "ivf_pq",
        None,
        2 << 30,
    )
    assert (await call("create_collection", "plain")).index is None
    sent = len(gateway.requests["CreateCollection"])
    with pytest.raises(ValueError, match="index"):
        await call("create_collection", "odd", index="annoy")
    assert len(gateway.requests["CreateCollection"]) == sent


async def test_an_exact_search_is_asked_for(filled: Both, gateway: SmallGateway) -> None:
    """One by one and in batches; not unless it is said."""
    await filled("search", "c", text="a", exact=True)
    assert gateway.requests["SearchItems"][-1].exact
    await filled("batch_search", "c", ["a"], exact=True)
    assert gateway.requests["BatchSearchItems"][-1].exact
    await filled("search", "c", text="a")
    assert not gateway.requests["SearchItems"][-1].exact


async def test_what_answers_are_made_of_is_sent_where_it_is_given(filled: Both, gateway: SmallGateway) -> None:
    """0 is a value; what is not given is not sent."""
    await filled("search", "c", text="a", collapse_above=0.95, mmr_lambda=0.0)
    sent = gateway.requests["SearchItems"][-1]
    assert (sent.collapse_above, sent.mmr_lambda, sent.HasField("mmr_lambda")) == (0.95, 0.0, True)
    await filled("search", "c", text="a")
    sent = gateway.requests["SearchItems"][-1]
    assert (sent.HasField("collapse_above"), sent.HasField("mmr_lambda")) == (False, False)


async def test_a_search_may_answer_once_a_thing(call: Both) -> None:
    """Of items that share a pair key the best is the answer; those without one stand for themselves."""
    await call("create_collection", "shop")
    items = [Item(id=f"item {number}", text=str(number), pair_key="ab"[number % 2]) for number in range(4)]
    await call("upsert", "shop", [*items, Item(id="x", text="x"), Item(id="y", text="y")])
    found = await call("search", "shop", text="3", group_by="pair_key")
    assert sorted(neighbor.item.pair_key for neighbor in found.neighbors) == ["", "", "a", "b"]
    assert {"item 3", "x", "y"} < {neighbor.id for neighbor in found.neighbors}
    assert len((await call("search", "shop", text="3")).neighbors) == 6


async def test_a_new_collection_of_an_old_name_starts_anew(filled: Both, gateway: SmallGateway) -> None:
    """A deleted collection's revision is forgotten, so that reads of its successor do not wait for it."""
    await filled("delete_collection", "c")
    await filled("create_collection", "c")
    await filled("search", "c", text="a")
    assert gateway.requests["SearchItems"][-1].min_revision == 1


def test_both_clients_have_the_same_methods() -> None:
    """Names, arguments, defaults and results are the same; only what may be iterated differs, and what is awaited."""

    def surface(cls: type) -> dict[str, tuple[str, ...]]:
        found = {}
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                signature = inspect.signature(member)
                found[name] = tuple(
                    f"{p.name}: {p.annotation} = {p.default}".replace(" | AsyncIterable[Item]", "")
                    for p in signature.parameters.values()
                )
                found[name] += (str(signature.return_annotation).replace("AsyncIterator", "Iterator"),)
        return found

    assert surface(Client) == surface(AsyncClient)
    assert {"upsert_acks", "search", "close"} <= surface(Client).keys()
