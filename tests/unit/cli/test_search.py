"""`isthmus search` and `isthmus embed`: what they show people and print as JSON."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import BROKEN_IMAGE, IMAGE_SPACE, TEXT_SPACE


def test_search_shows_neighbours(filled: Isthmus) -> None:
    """A table with place, score, match, modality, id and text; timings go to stderr."""
    done = filled("search", "--collection", "pets", "--text", "dog", "--top-k", "2")
    assert done.status == 0
    assert re.search(r"1 +1\.000 +50\.0 % +text +dog +dog", done.stdout)
    assert "1.5 ms (encode 0.9, search 0.3)" in done.stderr
    assert "answered without: cache" in done.stderr


def test_search_as_json(filled: Isthmus) -> None:
    """Every figure of every neighbour, and what was asked."""
    found = filled("search", "-c", "pets", "-t", "dog", "-k", "1", "--json").json()
    assert (found["collection"], found["query"]) == ("pets", {"text": "dog"})
    (neighbor,) = found["neighbors"]
    assert neighbor["id"] == "dog"
    assert neighbor["score"] == pytest.approx(1, abs=1e-3)
    assert neighbor["attributes"] == {"text": "dog"}
    assert (found["calibration"], found["degraded"], found["timings"]["total_micros"]) == ("fitted", ["cache"], 1500)


def test_search_by_image_and_by_item(filled: Isthmus) -> None:
    """A file and an id are queries too, and --modality narrows the answers."""
    found = filled("search", "-c", "pets", "--image", "cat.jpg", "--modality", "image", "--json").json()
    assert [neighbor["id"] for neighbor in found["neighbors"]] == ["cat.jpg"]
    found = filled("search", "-c", "pets", "--item", "cat.jpg", "--modality", "text", "--json").json()
    assert {neighbor["id"] for neighbor in found["neighbors"]} == {"cat", "dog", "bird"}


def test_search_among_items_that_match(filled: Isthmus) -> None:
    """--where narrows the answers by their attributes, and is told in the document."""
    where = "text startswith 'd' or text in ('bird')"
    found = filled("search", "-c", "pets", "-t", "cat", "--where", where, "--json").json()
    assert {neighbor["id"] for neighbor in found["neighbors"]} == {"dog", "bird"}
    assert found["where"] == where
    assert "nothing found" in filled("search", "-c", "pets", "-t", "cat", "--where", "price exists").stderr


def test_search_goes_on_page_by_page(filled: Isthmus) -> None:
    """The document names the token of the next page, --page-token takes it; the last page has none."""
    search = ["search", "-c", "pets", "-t", "dog", "--modality", "text", "--json"]
    first = filled(*search, "-k", "2").json()
    second = filled(*search, "-k", "2", "--page-token", first["next_page_token"]).json()
    assert second["next_page_token"] == ""
    everything = [neighbor["id"] for page in (first, second) for neighbor in page["neighbors"]]
    assert everything == [neighbor["id"] for neighbor in filled(*search).json()["neighbors"]]


def test_search_with_diverse_answers(filled: Isthmus) -> None:
    """--collapse-above and --mmr-lambda are told in the document; what is out of range is refused."""
    found = filled(
        "search", "-c", "pets", "-t", "dog", "--collapse-above", "0.9", "--mmr-lambda", "0.5", "--exact", "--json"
    ).json()
    assert (found["collapse_above"], found["mmr_lambda"], found["exact"]) == (0.9, 0.5, True)
    for wrong in (["--collapse-above", "1.1"], ["--mmr-lambda", "-0.1"]):
        assert filled("search", "-c", "pets", "-t", "dog", *wrong).status == 2


def test_search_by_examples(filled: Isthmus) -> None:
    """--like and --unlike, of any kind and weight, and the document says them; what is written otherwise is refused."""
    like = ["--like", "text:dog", "--like", "2*image:cat.jpg", "--unlike", "0.5*item:bird"]
    found = filled("search", "-c", "pets", *like, "--json").json()
    assert "bird" not in [neighbor["id"] for neighbor in found["neighbors"]]
    assert found["query"] == {"like": ["text:dog", "2*image:cat.jpg"], "unlike": ["0.5*item:bird"]}
    for wrong in (["--like", "dog"], ["--unlike", "x*item:dog"], ["--text", "dog", "--like", "item:dog"]):
        done = filled("search", "-c", "pets", *wrong)
        assert (done.status, done.stdout) == (2, "")


def test_search_answers_once_a_thing(filled: Isthmus) -> None:
    """--group-by goes with the search and is told in the document; another one than there is is refused."""
    found = filled("search", "-c", "pets", "-t", "cat", "--group-by", "pair_key", "--json").json()
    keys = [neighbor["pair_key"] for neighbor in found["neighbors"] if neighbor["pair_key"]]
    assert len(keys) == len(set(keys))
    assert found["group_by"] == "pair_key"
    assert filled("search", "-c", "pets", "-t", "cat", "--group-by", "colour").status == 2


def test_a_filter_that_cannot_be_read_is_pointed_at(filled: Isthmus) -> None:
    """The error names the column, and a caret stands below it; exit status 2, and nothing is asked of the mesh."""
    done = filled("search", "-c", "pets", "-t", "cat", "--where", "text = 'a' and 5")
    assert (done.status, done.stdout) == (2, "")
    first, line, caret = done.stderr.splitlines()
    assert first == "error: --where, column 16: expected the name of an attribute (USAGE)"
    assert line[caret.index("^")] == "5"


def test_markup_and_control_characters_are_shown_as_they_are(isthmus: Isthmus) -> None:
    """Nothing that a stranger wrote into an item colours a terminal or hides in it."""
    Path("texts.jsonl").write_text('{"id": "a", "text": "[red]loud[/red] \\u001b[31mred"}\n')
    isthmus("index", "texts.jsonl", "-c", "odd")
    shown = isthmus("search", "-c", "odd", "-t", "x").stdout
    assert "[red]loud[/red] \\x1b[31mred" in shown


def test_embed_shows_and_prints_vectors(isthmus: Isthmus) -> None:
    """Inputs with their dimension for people; whole vectors as JSON."""
    Path("cat.jpg").write_bytes(b"cat")
    done = isthmus("embed", "--text", "a", "--image", "cat.jpg")
    assert done.status == 0
    assert re.search(r"cat\.jpg +image +8", done.stdout)
    found = isthmus("embed", "--text", "a", "--image", "cat.jpg", "--json").json()
    assert found["texts"]["names"] == ["a"]
    assert np.linalg.norm(found["texts"]["vectors"][0]) == pytest.approx(1, abs=1e-3)
    assert (found["images"]["space"], found["images"]["indexes"], found["errors"]) == (IMAGE_SPACE, [0], [])


def test_embed_writes_a_file_that_index_reads(isthmus: Isthmus) -> None:
    """The npz of --out holds vectors, names and spaces, and can be indexed as it is."""
    Path("cat.jpg").write_bytes(b"cat")
    found = isthmus("embed", "--text", "a", "--text", "b", "--image", "cat.jpg", "--out", "v.npz", "--json").json()
    assert (found["out"], "vectors" in found["texts"]) == ("v.npz", False)
    with np.load("v.npz") as arrays:
        assert arrays["text"].shape == (2, 8)
        assert (arrays["text_name"].tolist(), str(arrays["text_space"])) == (["a", "b"], TEXT_SPACE)
    assert isthmus("index", "v.npz", "-c", "vectors", "--json").json()["created"] == 3


def test_embed_fails_when_an_input_was_refused(isthmus: Isthmus) -> None:
    """What worked is printed, what did not is named, and the exit status says so."""
    Path("broken.jpg").write_bytes(BROKEN_IMAGE)
    done = isthmus("embed", "--text", "a", "--image", "broken.jpg", "--json")
    assert done.status == 1
    assert done.json()["errors"] == [
        {"index": 0, "name": "broken.jpg", "reason": "INVALID_IMAGE", "message": "the bytes are not a readable image"}
    ]
    assert "1 of 2 inputs refused; input 0: the bytes are not a readable image (INVALID_IMAGE)" in done.stderr


def test_search_by_the_lines_of_a_file(filled: Isthmus) -> None:
    """A text a line: one call, one group of answers a line for people, one result a line as JSON."""
    Path("queries.txt").write_text("cat\n\ndog\n")
    done = filled("search", "-c", "pets", "--queries", "queries.txt", "-k", "2")
    assert done.status == 0
    assert re.search(r"1 +cat +1 +1\.000 +50\.0 % +(text|image) +cat", done.stdout)
    assert re.search(r"3 +dog +1 +1\.000", done.stdout)
    assert "for 2 queries" in done.stderr
    found = filled("search", "-c", "pets", "--queries", "queries.txt", "--modality", "text", "-k", "1", "--json").json()
    assert [(one["line"], one["query"]) for one in found["results"]] == [(1, {"text": "cat"}), (3, {"text": "dog"})]
    assert [one["neighbors"][0]["id"] for one in found["results"]] == ["cat", "dog"]
    assert (found["collection"], found["n"], found["errors"], found["where"]) == ("pets", 2, [], None)


def test_a_bad_line_is_reported_and_harms_no_other(filled: Isthmus) -> None:
    """JSON lines of texts, images and items; what is wrong is named by line, here or by the mesh; exit status 1."""
    lines = ['{"text": "dog"}', "dog", '{"image": "gone.jpg"}', '{"item": "nobody"}', '{"image": "cat.jpg"}', "[1]"]
    Path("queries.jsonl").write_text("\n".join(lines))
    done = filled("search", "-c", "pets", "--queries", "queries.jsonl", "-k", "1", "--json")
    assert done.status == 1
    assert [one["line"] for one in done.json()["results"]] == [1, 5]
    assert {one["line"]: one["reason"] for one in done.json()["errors"]} == {
        2: "BAD_LINE",
        3: "BAD_LINE",
        4: "ITEM_NOT_FOUND",
        6: "BAD_LINE",
    }
    assert done.json()["n"] == len(lines)
    assert "line 3: gone.jpg: No such file" in filled("search", "-c", "pets", "--queries", "queries.jsonl").stderr


@pytest.mark.parametrize("more", [["--text", "a"], ["--page-token", "2"]])
def test_many_queries_go_with_nothing_that_is_about_one(filled: Isthmus, more: list[str]) -> None:
    """Another query beside the file, or a page: exit status 2."""
    Path("queries.txt").write_text("cat\n")
    assert filled("search", "-c", "pets", "--queries", "queries.txt", *more).status == 2


def test_a_file_without_a_query_is_refused(filled: Isthmus) -> None:
    """Empty or missing: exit status 1 with the reason."""
    Path("empty.txt").write_text("\n")
    for name, reason in (("empty.txt", "EMPTY_INPUT"), ("missing.txt", "UNREADABLE_SOURCE")):
        done = filled("search", "-c", "pets", "--queries", name)
        assert done.status == 1
        assert reason in done.stderr


def test_search_by_words(filled: Isthmus) -> None:
    """By themselves they narrow the answers, beside a text they lift them; a column and a key tell their score."""
    found = filled("search", "-c", "pets", "--keywords", "bird", "--json").json()
    assert [(one["id"], one["keyword_score"]) for one in found["neighbors"]] == [("bird", 1.0)]
    assert (found["query"], found["keywords"]) == ({}, "bird")
    both = filled("search", "-c", "pets", "-t", "cat", "--keywords", "bird", "--json").json()
    assert both["neighbors"][0]["id"] == "bird"
    assert [one["keyword_score"] for one in both["neighbors"]] == [1.0, None, None, None]
    assert re.search(r"50\.0 % +1\.0 +text +bird", filled("search", "-c", "pets", "--keywords", "bird").stdout)
    Path("queries.txt").write_text("cat\n")
    assert filled("search", "-c", "pets", "--queries", "queries.txt", "--keywords", "a").status == 2
    assert filled("search", "-c", "pets", "--keywords", "").status == 2


def test_a_collection_says_that_it_keeps_texts(isthmus: Isthmus) -> None:
    """Created with --keyword-search, it shows so; without, nothing is said."""
    assert isthmus("collections", "create", "kept", "--keyword-search", "--json").json()["keyword_search"]
    assert "texts are kept" in isthmus("collections", "show", "kept").stdout
    assert not isthmus("collections", "create", "plain", "--json").json()["keyword_search"]
    assert "texts are kept" not in isthmus("collections", "show", "plain").stdout
