"""`isthmus index`: what it stores, what it refuses, and that a second run changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.harness.pictures import jpeg
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import BROKEN_IMAGE, IMAGE_SPACE, TEXT_SPACE, SmallGateway


def _photos(**files: bytes) -> None:
    for name, content in files.items():
        path = Path("photos", name.replace("__", "/") + ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_a_folder_is_indexed_whole_and_only_once(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Images below the folder are found; the second identical run changes nothing; a changed file is updated."""
    _photos(a=b"1", b=b"2", deep__er__c=b"3")
    Path("photos/notes.txt").write_text("no image")
    Path("photos/.hidden.jpg").write_bytes(b"hidden")
    first = isthmus("index", "photos", "-c", "c", "--json").json()
    assert (first["collection_created"], first["created"], first["refused"]) == (True, 3, 0)
    assert sorted(gateway.items["c"]) == ["photos/a.jpg", "photos/b.jpg", "photos/deep/er/c.jpg"]
    _photos(b=b"changed")
    again = isthmus("index", "photos", "-c", "c", "--json").json()
    assert (again["collection_created"], again["created"], again["updated"], again["unchanged"]) == (False, 0, 1, 2)


@pytest.mark.parametrize("form", ["jsonl", "tsv"])
def test_captions_are_paired_with_their_images(form: str, isthmus: Isthmus, gateway: SmallGateway) -> None:
    """An image and its captions share a pair key, and a caption shows itself in search answers."""
    _photos(a=b"1", deep__b=b"2")
    captions = Path(f"captions.{form}")
    if form == "jsonl":
        captions.write_text(
            '{"file": "a.jpg", "captions": ["first", "second"]}\n{"file_name": "deep/b.jpg", "text": "third"}\n'
            '{"file": "elsewhere.jpg", "caption": "unused"}\n'
        )
    else:
        captions.write_text("image\tcaption\na.jpg#0\tfirst\na.jpg#1\tsecond\nb\tthird\nelsewhere.jpg\tunused\n")
    done = isthmus("index", "photos", "-c", "c", "--captions", captions)
    assert done.status == 0
    assert "1 names in" in done.stderr
    stored = {item_id: item for item_id, (item, _) in gateway.items["c"].items()}
    assert {item_id: item.pair_key for item_id, item in stored.items()} == {
        "photos/a.jpg": "photos/a.jpg",
        "photos/a.jpg#0": "photos/a.jpg",
        "photos/a.jpg#1": "photos/a.jpg",
        "photos/deep/b.jpg": "photos/deep/b.jpg",
        "photos/deep/b.jpg#0": "photos/deep/b.jpg",
    }
    assert stored["photos/a.jpg#1"].attributes["text"].string_value == "second"


def test_parquet_of_images_and_captions(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """The layout of Hugging Face data sets: struct of bytes and path, list of captions; ids from the paths."""
    rows = [
        {"image": {"bytes": b"1", "path": "a.jpg"}, "captions": ["x", "y"]},
        {"image": {"bytes": b"2", "path": "a.jpg"}, "captions": ["z"]},
        {"image": {"bytes": None, "path": "gone.jpg"}, "captions": ["w"]},
        {"image": {"bytes": b"3", "path": None}, "captions": []},
        {"image": {"bytes": b"4", "path": "/somebody/home/d.jpg"}, "captions": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), "dev.parquet")
    found = isthmus("index", "dev.parquet", "-c", "c", "--json").json()
    assert sorted(gateway.items["c"]) == [
        "dev/a.jpg",
        "dev/a.jpg#0",
        "dev/a.jpg#1",
        "dev/d.jpg",
        "dev/row-1",
        "dev/row-1#0",
        "dev/row-3",
    ]
    assert found["refusals"] == [
        {"id": "dev/gone.jpg", "reason": "EMPTY_INPUT", "message": "the row holds no bytes of an image"}
    ]
    assert isthmus("index", "dev.parquet", "-c", "c", "--json").json()["unchanged"] == 7


def test_parquet_of_binary_images_and_of_texts(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Plain binary images with a text column; texts alone; an id column names the rows."""
    pq.write_table(pa.table({"image": [b"1", b"2"], "text": ["x", "y"], "id": [7, 8]}), "a.parquet")
    pq.write_table(pa.table({"text": ["p", None, "q"]}), "b.parquet")
    found = isthmus("index", "a.parquet", "b.parquet", "-c", "c", "--json").json()
    assert sorted(gateway.items["c"]) == ["a/7", "a/7#0", "a/8", "a/8#0", "b/row-0", "b/row-2"]
    assert [refusal["id"] for refusal in found["refusals"]] == ["b/row-1"]


def test_a_folder_of_parquet_is_a_data_set(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Every parquet file below a folder is read, and captions from a file help where the table has none."""
    Path("set").mkdir()
    for part in range(2):
        row = {"image": {"bytes": bytes([part]), "path": f"{part}.jpg"}}
        pq.write_table(pa.Table.from_pylist([row]), f"set/part-{part}.parquet")
    Path("captions.tsv").write_text("1.jpg\tone\n")
    isthmus("index", "set", "-c", "c", "--captions", "captions.tsv")
    assert sorted(gateway.items["c"]) == ["part-0/0.jpg", "part-1/1.jpg", "part-1/1.jpg#0"]


def test_tables_of_texts(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """TSV with one column, with id and text, with a header; JSONL with everything an item may have."""
    Path("one.tsv").write_text("first\r\n\nthird\n")
    Path("two.tsv").write_text('a\tquoted "text"\n')
    Path("three.tsv").write_text("text\tid\tpair_key\nsome text\tb\tp\nno id\n")
    Path("four.jsonl").write_text(
        '{"id": "c", "text": "t", "pair_key": "p", "attributes": {"year": 2020, "good": true}}\n'
        '{"captions": ["x", "y"]}\n'
        "not json\n"
        '{"nothing": 1}\n'
        '{"text": "t", "attributes": {"list": [1]}}\n'
    )
    found = isthmus("index", "one.tsv", "two.tsv", "three.tsv", "four.jsonl", "-c", "c", "--json").json()
    stored = {item_id: item for item_id, (item, _) in gateway.items["c"].items()}
    assert sorted(stored) == [
        "a",
        "b",
        "c",
        "four.jsonl/2#0",
        "four.jsonl/2#1",
        "one.tsv/1",
        "one.tsv/3",
        "three.tsv/3",
    ]
    assert stored["a"].attributes["text"].string_value == 'quoted "text"'
    assert stored["b"].pair_key == stored["c"].pair_key == "p"
    assert stored["c"].attributes["year"].int_value == 2020
    assert stored["four.jsonl/2#0"].pair_key == "four.jsonl/2"
    assert [(r["id"], r["reason"]) for r in found["refusals"]] == [
        ("four.jsonl/3", "INVALID_LINE"),
        ("four.jsonl/4", "INVALID_LINE"),
        ("four.jsonl/5", "INVALID_ATTRIBUTES"),
    ]


def _vectors(count: int, seed: int, dimension: int = 8) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def test_vectors_are_indexed_in_their_space(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Row i of both modalities is a pair, and the new collection has the spaces of the vectors."""
    np.savez("v.npz", image=_vectors(3, 0, 5), text=_vectors(3, 1, 4))
    found = isthmus(
        "index",
        "v.npz",
        "-c",
        "c",
        "--image-space",
        "a@0123456789abcdef",
        "--text-space",
        "b@0123456789abcdef",
        "--json",
    ).json()
    assert found["created"] == 6
    collection = gateway.collections["c"]
    assert (collection.image_space, collection.image_dimension) == ("a@0123456789abcdef", 5)
    assert (collection.text_space, collection.text_dimension) == ("b@0123456789abcdef", 4)
    keys = {item_id: item.pair_key for item_id, (item, _) in gateway.items["c"].items()}
    assert keys == {f"v/{n}{end}": f"v/{n}" for n in range(3) for end in ("", "#0")}


def test_words_of_given_texts_are_sent_with_them(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """A file that knows how long its texts are says so; slices by length need it."""
    np.savez("v.npz", text=_vectors(2, 1), text_space=TEXT_SPACE, text_words=np.array([7, 0]))
    assert isthmus("index", "v.npz", "-c", "c").status == 0
    sent = {item.id: item.content_words for request in gateway.requests["UpsertItems"] for item in request.items}
    assert sent == {"v/0#0": 7, "v/1#0": 0}
    np.savez("v.npz", text=_vectors(2, 1), text_space=TEXT_SPACE, text_words=np.array([7.5, 1.0]))
    done = isthmus("index", "v.npz", "-c", "c")
    assert (done.status, "text_words must have a whole number" in done.stderr) == (1, True)


def test_named_vectors_with_captions_use_the_meshs_text_encoder(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Images from another encoder, captions through the mesh: two spaces in one collection."""
    np.savez("v.npz", filename=np.array(["a.jpg", "b.jpg"]), image=_vectors(2, 0, 5))
    Path("captions.tsv").write_text("a.jpg\tsome words\n")
    isthmus("index", "v.npz", "-c", "c", "--image-space", "a@0123456789abcdef", "--captions", "captions.tsv")
    assert sorted(gateway.items["c"]) == ["v/a.jpg", "v/a.jpg#0", "v/b.jpg"]
    collection = gateway.collections["c"]
    assert (collection.image_space, collection.text_space) == ("a@0123456789abcdef", TEXT_SPACE)


def test_vectors_of_different_number_are_no_pairs(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Without names, rows are only paired where both modalities have as many."""
    np.savez("v.npz", image=_vectors(1, 0), text=_vectors(2, 1), image_space=IMAGE_SPACE, text_space=TEXT_SPACE)
    isthmus("index", "v.npz", "-c", "c")
    assert sorted(gateway.items["c"]) == ["v/image-0", "v/text-0#0", "v/text-1#0"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((2, 3), np.float32)}, "does not say in which space: name it with --image-space"),
        ({"image": np.zeros(3, np.float32), "image_space": "a@01234567"}, r"must be (n, d) floats"),
        ({"text": np.zeros((2, 3), np.int64), "text_space": "a@01234567"}, r"must be (n, d) floats"),
        ({"other": np.zeros((2, 3))}, "neither an array image nor an array text; it has other"),
        (
            {"text": np.zeros((2, 3), np.float32), "text_space": "a@01234567", "text_name": np.array(["x"])},
            "must have a name for each of 2 rows",
        ),
        ({"text": np.array([[object()]], dtype=object)}, "without pickled objects"),
    ],
)
def test_vectors_that_cannot_be_meant_are_refused(
    arrays: dict[str, np.ndarray],
    message: str,
    isthmus: Isthmus,
) -> None:
    """The message says what is missing; nothing is made, and nothing pickled is opened."""
    np.savez("v.npz", **arrays)  # type: ignore[arg-type]
    done = isthmus("index", "v.npz", "-c", "c")
    assert done.status == 1
    assert message in done.stderr
    assert isthmus("collections", "list", "--json").json() == {"collections": []}


def test_two_spaces_of_one_modality_do_not_go_together(isthmus: Isthmus) -> None:
    """One collection has one image space and one text space."""
    for name in ("a", "b"):
        np.savez(f"{name}.npz", text=_vectors(1, 0), text_space=np.array(f"{name}@0123456789abcdef"))
    done = isthmus("index", "a.npz", "b.npz", "-c", "c")
    assert (done.status, "two collections" in done.stderr) == (2, True)


def test_refusals_are_listed_and_do_not_fail_the_run(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Refused by the mesh, unreadable, too large, the same id twice: each is named, the rest is stored."""
    _photos(good=b"1", bad=BROKEN_IMAGE)
    Path("photos/link.jpg").symlink_to("nowhere.jpg")
    with Path("photos/huge.jpg").open("wb") as file:
        file.truncate(33 * 1024 * 1024)
    Path("twice.tsv").write_text("x\tfirst\nx\tsecond\n")
    done = isthmus("index", "photos", "twice.tsv", "-c", "c")
    assert done.status == 0
    for text in ("INVALID_IMAGE", "UNREADABLE_FILE", "IMAGE_TOO_LARGE", "DUPLICATE_ITEM_ID"):
        assert text in done.stdout
    assert sorted(gateway.items["c"]) == ["photos/good.jpg", "x"]


def test_a_run_that_stores_nothing_fails(isthmus: Isthmus) -> None:
    """Everything refused is exit status 1, with the first reason."""
    _photos(bad=BROKEN_IMAGE)
    done = isthmus("index", "photos", "-c", "c", "--json")
    assert (done.status, done.json()["refused"]) == (1, 1)
    assert done.stderr == "error: everything was refused (INVALID_IMAGE)\n"


def test_many_refusals_are_counted_and_ten_are_shown(isthmus: Isthmus) -> None:
    """A person sees the first ten and how many more there are."""
    Path("t.tsv").write_text("good\tt\n" + "".join(f"{n}\t \n" for n in range(25)))
    done = isthmus("index", "t.tsv", "-c", "c")
    assert done.stdout.count("EMPTY_TEXT") == 10
    assert "and 15 more" in done.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "missing: no such file or folder"),
        ("empty", "empty holds no image (jpg, jpeg, png, webp) and no parquet file"),
        ("file.xyz", "file.xyz is nothing that can be indexed"),
        ("file.parquet", "file.parquet cannot be read as parquet"),
        ("latin.tsv", "latin.tsv is not UTF-8"),
        ("numbers.parquet", "neither a column image nor a column captions or text; it has n"),
        ("file.npz", "cannot be read as npz"),
    ],
)
def test_a_source_that_is_none_is_one_line(source: str, message: str, isthmus: Isthmus) -> None:
    """Exit status 1 and a reason; no collection is made for it."""
    Path("empty").mkdir()
    for name in ("file.xyz", "file.parquet", "file.npz"):
        Path(name).write_bytes(b"anything")
    Path("latin.tsv").write_bytes(b"caf\xe9\n")
    pq.write_table(pa.table({"n": [1]}), "numbers.parquet")
    done = isthmus("index", source, "-c", "c")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ["no tab here", "\tno file"])
def test_captions_that_cannot_be_read_are_refused(line: str, isthmus: Isthmus) -> None:
    """The message names the file and the line."""
    _photos(a=b"1")
    Path("captions.tsv").write_text(f"a.jpg\tfine\n{line}\n")
    done = isthmus("index", "photos", "-c", "c", "--captions", "captions.tsv")
    assert (done.status, "captions.tsv, line 2" in done.stderr) == (1, True)


def test_thumbnails_are_small_pictures(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """With --thumbnails each image brings one of at most 64 KiB; a second run makes the same ones."""
    _photos(a=jpeg(1, side_px=900), bad=BROKEN_IMAGE)
    assert isthmus("index", "photos", "-c", "c", "--thumbnails", "--json").json()["created"] == 1
    stored = gateway.items["c"]["photos/a.jpg"][0].thumbnail
    assert stored.startswith(b"\xff\xd8")
    assert 100 < len(stored) < 64 * 1024
    assert isthmus("index", "photos", "-c", "c", "--thumbnails", "--json").json()["unchanged"] == 1


def test_thumbnails_need_a_collection_that_keeps_them(isthmus: Isthmus) -> None:
    """A collection made without them says so before anything is sent."""
    _photos(a=jpeg(1))
    isthmus("index", "photos", "-c", "c")
    done = isthmus("index", "photos", "-c", "c", "--thumbnails")
    assert (done.status, "THUMBNAILS_DISABLED" in done.stderr) == (1, True)


def test_awkward_names_get_ids_that_the_mesh_takes(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """Long names, control characters and bytes that are no UTF-8 become valid ids that stay different and stable."""
    Path("photos").mkdir()
    names = [b"tab\there.jpg", b"latin-\xe9.jpg", b"latin-\xe8.jpg", ("é" * 100 + "a.jpg").encode()]
    for number, name in enumerate(names):
        with open(b"photos/" + name, "wb") as file:  # noqa: PTH123 - a path of bytes
            file.write(bytes([number]))
    deep = Path("photos", *["d" * 60] * 4)
    deep.mkdir(parents=True)
    (deep / "x.jpg").write_bytes(b"deep")
    (deep / "y.jpg").write_bytes(b"deeper")
    first = isthmus("index", "photos", "-c", "c", "--json").json()
    assert (first["created"], first["refused"]) == (6, 0)
    for item_id in gateway.items["c"]:
        assert len(item_id.encode()) <= 250
        assert item_id.isprintable()
    assert isthmus("index", "photos", "-c", "c", "--json").json()["unchanged"] == 6


def test_json_is_all_there_is_on_stdout(isthmus: Isthmus) -> None:
    """One document, one line when nobody looks."""
    _photos(a=b"1")
    done = isthmus("index", "photos", "-c", "c", "--json")
    assert done.stdout.count("\n") == 1
    assert set(json.loads(done.stdout)) == {
        "collection",
        "collection_created",
        "items",
        "created",
        "updated",
        "unchanged",
        "refused",
        "truncated",
        "revision",
        "seconds",
        "refusals",
    }
