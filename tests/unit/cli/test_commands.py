"""What every command promises: one JSON document, tables for people, errors on one line, exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main

from isthmus.cli.main import app
from isthmus.runtime.base import errors as served
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import ALIGNER, BROKEN_IMAGE, IMAGE_SPACE, TEXT_SPACE, Running, SmallGateway

ISSUE_COMMANDS = {
    "up",
    "status",
    "collections list",
    "collections create",
    "collections show",
    "collections delete",
    "index",
    "search",
    "embed",
    "evaluate",
    "measure",
    "match",
    "audit",
    "watch",
    "link",
    "compare encoders",
    "align fit",
    "align verify",
    "align compare",
    "align list",
    "align show",
    "align import",
    "align promote",
    "align rollback",
    "align shadow",
    "aligners list",
    "aligners fit",
    "aligners import",
    "aligners promote",
    "train aligner",
    "models pull",
    "keys new",
    "deploy serve-config",
    "deploy ray-environment",
}
SETTINGS_COMMANDS = {"deploy serve-config", "deploy ray-environment"}
"""What they print is a file for another program."""
OFFLINE_COMMANDS = {"compare encoders", "keys new", *SETTINGS_COMMANDS}


def _commands() -> dict[str, list[str]]:
    """Return every command with the names of its options."""
    found: dict[str, list[str]] = {}

    def walk(group: object, names: tuple[str, ...]) -> None:
        for name, command in getattr(group, "commands", {}).items():
            if hasattr(command, "commands"):
                walk(command, (*names, name))
            else:
                found[" ".join((*names, name))] = [option for p in command.params for option in p.opts]

    walk(typer.main.get_command(app), ())
    return found


def test_the_commands_are_those_of_the_issue() -> None:
    """Nothing is missing and nothing is beside them."""
    assert set(_commands()) == ISSUE_COMMANDS


@pytest.mark.parametrize("name", sorted(_commands()))
def test_every_command_explains_itself(name: str, isthmus: Isthmus) -> None:
    """`--help` works without a mesh and says what the command does."""
    done = isthmus(*name.split(), "--help")
    assert done.status == 0
    assert "Usage: isthmus" in done.stdout


@pytest.mark.parametrize("name", sorted(ISSUE_COMMANDS - {"up", *SETTINGS_COMMANDS}))
def test_every_command_but_up_speaks_json(name: str) -> None:
    """`--json` is everywhere."""
    assert "--json" in _commands()[name]


@pytest.mark.parametrize("name", sorted(ISSUE_COMMANDS - {"up", "train aligner", "models pull", *OFFLINE_COMMANDS}))
def test_every_command_of_a_mesh_takes_its_address(name: str) -> None:
    """`--address` is on each command that talks to one."""
    assert "--address" in _commands()[name]


def test_status_shows_everything(isthmus: Isthmus, server: Running) -> None:
    """People see encoders, cache, services, aligner; what they should know goes to stderr."""
    done = isthmus("status")
    assert done.status == 0
    for text in (server.address, IMAGE_SPACE, TEXT_SPACE, ALIGNER, "redis ready", "alignment  NOT ANSWERING"):
        assert text in done.stdout
    assert "research and education only" in done.stderr
    assert "open proposals to fit an aligner again: 2; see them with: isthmus watch" in done.stderr


def test_status_as_json(isthmus: Isthmus, server: Running) -> None:
    """The same as one document."""
    found = isthmus("status", "--json").json()
    assert found["address"] == server.address
    assert found["encoders"][0]["encoded_items"] == 12
    assert found["cache"]["backend"] == "redis"
    assert found["notices"]
    assert found["open_proposals"] == 2


def test_an_address_on_the_command_line_wins(
    isthmus: Isthmus, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--address` is stronger than ISTHMUS_ADDRESS."""
    monkeypatch.setenv("ISTHMUS_ADDRESS", "127.0.0.1:9")
    assert isthmus("status", "--address", server.address).status == 0


def test_collections_come_and_go(isthmus: Isthmus) -> None:
    """Create, list and delete, for people and as JSON."""
    assert "there are no collections" in isthmus("collections", "list").stderr
    assert isthmus("collections", "create", "pets", "--json").json()["name"] == "pets"
    assert isthmus("collections", "create", "art", "--thumbnails").status == 0
    assert [c["name"] for c in isthmus("collections", "list", "--json").json()["collections"]] == ["art", "pets"]
    assert re.search(r"pets +0 +0 +1 ", isthmus("collections", "list").stdout)
    assert isthmus("collections", "delete", "pets", "--json").json() == {"deleted": "pets"}
    done = isthmus("collections", "delete", "pets")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no such collection (COLLECTION_NOT_FOUND)\n  hint: ")


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "-c", "pets"],
        ["search", "-c", "pets", "--text", "a", "--item", "b"],
        ["embed"],
        ["status", "--address", "nowhere"],
        ["search", "--text", "a"],
        ["search", "-c", "pets", "--text", "a", "--modality", "sound"],
        ["search", "-c", "pets", "--text", "a", "--top-k", "0"],
        ["collections"],
        ["nothing"],
        ["aligners", "fit", "-c", "pets", "--name", "a", "--method", "magic"],
        ["train", "aligner", "data.parquet"],
        ["watch", "--dismiss", "0011"],
        ["watch", "-c", "pets", "--reason", "because"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_usage_errors(arguments: list[str], isthmus: Isthmus) -> None:
    """Exit status 2 (or the help of a group), nothing on stdout but help."""
    done = isthmus(*arguments)
    assert done.status == 2


@pytest.mark.parametrize("arguments", [["search", "-c", "pets", "--text", "a"], ["status"], ["evaluate", "-c", "pets"]])
def test_without_a_mesh_a_command_says_how_to_start_one(
    arguments: list[str], isthmus: Isthmus, server: Running
) -> None:
    """Connection refused: one line, a hint, exit status 1, no traceback."""
    server.stop()
    done = isthmus(*arguments)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: nobody answers at {server.address} (UNAVAILABLE)",
        "  hint: start a mesh with `isthmus up`, or name a running one with --address or ISTHMUS_ADDRESS",
    ]


def test_a_failure_with_json_is_one_document_too(isthmus: Isthmus) -> None:
    """Stdout holds the error as JSON, stderr the line for people."""
    done = isthmus("search", "-c", "missing", "--text", "a", "--json")
    assert done.status == 1
    error = done.json()["error"]
    assert (error["code"], error["reason"], error["metadata"]) == (
        "NOT_FOUND",
        "COLLECTION_NOT_FOUND",
        {"field": "collection"},
    )
    assert len(error["request_id"]) == 32
    assert done.stderr.startswith("error: there is no such collection (COLLECTION_NOT_FOUND)")


def test_a_bug_in_the_mesh_names_the_call(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """INTERNAL tells nothing but the id under which the log has everything."""
    gateway.failures["GetStatus"].append(served.InternalError("secret"))
    done = isthmus("status")
    assert re.match(r"error: internal error \(INTERNAL, request id [0-9a-f]{32}\)", done.stderr)
    assert "secret" not in done.stderr


def test_a_full_mesh_says_when_to_come_back(isthmus: Isthmus, gateway: SmallGateway) -> None:
    """A pause that the mesh asks for is the hint."""
    gateway.failures["GetStatus"].append(
        served.ResourceExhaustedError("the queue is full", reason="QUEUE_FULL", retry_after_s=2.5)
    )
    assert isthmus("status").stderr.splitlines()[1] == "  hint: try again in 2.5 s"


def test_a_missing_file_is_one_line(filled: Isthmus) -> None:
    """A query image that is not there fails like everything else."""
    done = filled("search", "-c", "pets", "--image", "missing.jpg")
    assert (done.status, done.stderr) == (1, "error: missing.jpg: No such file or directory (UNREADABLE_FILE)\n")


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


def test_evaluate_as_json_has_the_keys_of_every_evaluation(filled: Isthmus) -> None:
    """Nested objects of fractions; --through-search is passed on."""
    mixed = {"r1": 0.125, "r10": 0.5, "r20": 0.75, "ndcg10": 0.25, "own_share": 0.5}
    assert filled("evaluate", "-c", "pets", "--through-search", "--json").json() == {
        "n": 10,
        "image_queries": 10,
        "text_queries": 50,
        "recall": {"t2i": {"r1": 0.25, "r5": 0.5, "r10": 0.75}, "i2t": {"r1": 0.375, "r5": 0.625, "r10": 0.875}},
        "mixed": {"image_query": mixed, "text_query": mixed},
        "aligner": ALIGNER,
        "revision": 2,
        "through_search": True,
        "calibration": "fitted",
    }


def test_evaluate_shows_percent_to_people(filled: Isthmus) -> None:
    """Tables are the only place for percent."""
    done = filled("evaluate", "-c", "pets")
    assert re.search(r"text → image +25\.0 % +50\.0 % +75\.0 %", done.stdout)
    assert "10 pairs (10 images, 50 texts), exact similarities" in done.stderr


def test_an_aligner_is_shown_with_its_report_and_written_to_a_folder(isthmus: Isthmus) -> None:
    """People see where it comes from and its figures by name; `--out` leaves what `align import` takes."""
    done = isthmus("align", "show", ALIGNER, "--out", "kept")
    assert done.status == 0
    for text in (ALIGNER, "made by", "a test", "recall.t2i.r1", "0.5000"):
        assert text in done.stdout
    assert isthmus("align", "import", "kept").status == 0
    assert isthmus("align", "show", ALIGNER, "--json").json()["manifest"]["report"]["n"] == 4
    done = isthmus("align", "show", "nobody")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: aligner: there is none of that name and revision (ALIGNER_NOT_FOUND)")
    Path("taken").write_text("a file")
    assert "(UNWRITABLE_FILE)" in isthmus("align", "show", ALIGNER, "--out", "taken").stderr


def test_links_are_shown_written_and_printed_as_json(filled: Isthmus, gateway: SmallGateway, tmp_path: Path) -> None:
    """People see the most probable 20 and how many are right; the file holds all; options that clash end with 2."""
    table = tmp_path / "links.csv"
    done = filled("link", "-c", "pets", "--false-accept-rate", "0.05", "--out", table)
    assert re.search(r"i0 +t0 +100\.0 %", done.stdout)
    assert "i20" not in done.stdout
    assert "30 links, about 15 of them right" in done.stderr  # the probabilities add up to 15.5, less a rounding
    rows = table.read_text().splitlines()
    assert (len(rows), rows[0], rows[3]) == (31, "image_id,text_id,probability,score", "i2,t2,0.9333333333333333,-2.0")
    found = filled("link", "-c", "pets", "--best", "--each", "image", "--max", "2", "--json").json()
    assert (found["mode"], found["images"], found["texts"], found["accept_above"]) == ("best_text", 40, 50, None)
    assert found["links"][0] == {"image_id": "i0", "text_id": "t0", "probability": 1.0, "score": 0.0}
    assert [request.terms.mode for request in gateway.requests["ProposeLinks"]] == [1, 3]
    for clash in (["--best", "--one-to-one"], ["--each", "text"]):
        assert filled("link", "-c", "pets", *clash).status == 2
    lost = filled("link", "-c", "pets", "--out", tmp_path / "nowhere" / "links.csv")
    assert (lost.status, "UNWRITABLE_FILE" in lost.stderr) == (1, True)


def test_a_measurement_shows_one_number_a_measure(filled: Isthmus, gateway: SmallGateway) -> None:
    """What could not be taken is a dash with its reason; the document holds all of the report."""
    done = filled("measure", "-c", "pets", "--seed", "4", "--sample", "16")
    assert done.status == 0
    assert re.search(r"centroid +0\.5000", done.stdout)
    assert re.search(r"fid +-", done.stdout)
    assert "not measured: fid: too few" in done.stderr
    assert "20 pairs (20 images, 40 texts), 50 % of the pair keys" in done.stderr
    found = filled("measure", "-c", "pets", "--aligner", ALIGNER, "--json").json()
    assert (found["n"], found["gap"], found["aligner"]) == (20, {"centroid": 0.5, "fid": None}, ALIGNER)
    assert [(r.seed, r.sample_count) for r in gateway.requests["MeasureGap"]] == [(4, 16), (0, 2000)]
    for arguments in ((), ("-c", "pets", "--embeddings", "a.npz"), ("--embeddings", "a.npz", "--aligner", ALIGNER)):
        done = filled("measure", *arguments)
        assert (done.status, done.stderr.startswith("error: name either --embeddings")) == (2, True)


def test_an_aligner_is_fitted_verified_and_compared_in_the_mesh(filled: Isthmus, gateway: SmallGateway) -> None:
    """With --collection the mesh does the work; a table or one document comes back, and what the guard says."""
    done = filled("align", "fit", "-c", "pets", "--method", "cca", "--dimension", "8", "--hubness")
    assert "isthmus align promote cca@0000000000000001 --collection pets" in done.stderr
    options = gateway.requests["FitAligner"][0].options
    assert (options.dimension, options.hubness, options.HasField("strength")) == (8, True, False)
    done = filled("align", "verify", "-c", "pets", "--aligner", ALIGNER)
    assert re.search(r"heads +25\.0 % +25\.0 % +75\.0 % / 75\.0 %", done.stdout)
    assert "the guard refuses: hubness growth: too much" in done.stderr
    found = filled("align", "verify", "-c", "pets", "--aligner", ALIGNER, "--json").json()
    assert (found["guard"]["ok"], found["calibration"]["ece"], found["aligner"]) == (False, 0.0, ALIGNER)
    done = filled("align", "compare", "-c", "pets", "--methods", "center, cca,spectral")
    assert re.search(r"center .* passes", done.stdout)
    assert "not fitted: spectral: too few pairs" in done.stderr
    found = filled("align", "compare", "-c", "pets", "--methods", "center,cca", "--json").json()
    assert (found["best"], list(found["methods"]), found["refused"]) == ("center", ["center"], {"cca": "too few pairs"})
    for command in (("verify", "--aligner", "a"), ("compare",), ("fit", "--method", "cca")):
        done = filled("align", *command)
        assert (done.status, done.stderr) == (2, "error: name either --embeddings or --collection (USAGE)\n")


def test_a_rollback_shows_the_collection(filled: Isthmus) -> None:
    """As a promotion does; with nothing to return to, the hint says what else there is."""
    assert filled("align", "rollback", "-c", "pets", "--json").json()["aligner"] == ""
    done = filled("align", "rollback", "-c", "pets")
    assert (done.status, done.stdout) == (1, "")
    assert "(NO_PREVIOUS_ALIGNER)\n  hint: `isthmus align promote`" in done.stderr


def test_who_is_active_and_what_was_forced_is_shown(filled: Isthmus) -> None:
    """At three in the morning: the active aligner, since when, and why it was promoted against the guard's word."""
    forced = rf"7 +2023-11-14 22:13:20 +{ALIGNER} +promoted, FORCED: the editors decided so"
    done = filled("align", "list", "--collection", "pets")
    assert re.search(forced, done.stdout)
    assert re.search(r"1 +2020-09-13 12:26:40 +none +created with the collection", done.stdout)
    assert "10 earlier ones are not shown" in done.stderr
    found = filled("align", "list", "-c", "pets", "--json").json()
    assert (found["collection"], found["total_count"]) == ("pets", 12)
    newest = found["promotions"][0]
    assert (newest["time"], newest["kind"]) == ("2023-11-14T22:13:20.123+00:00", "promoted")
    assert (newest["aligner"], newest["override_reason"]) == (ALIGNER, "the editors decided so")
    done = filled("collections", "show", "pets")
    assert re.search(r"active since +revision 7, 2023-11-14 22:13:20", done.stdout)
    assert re.search(forced, done.stdout)
    assert filled("collections", "show", "pets", "--json").json()["promotions"][0] == newest
    done = filled("align", "show", "--collection", "pets")
    assert re.search(r"how +promoted, FORCED: the editors decided so", done.stdout)
    assert "a test" in done.stdout
    assert filled("align", "show", "-c", "pets", "--json").json()["active"] == newest
    for arguments in ((), (ALIGNER, "-c", "pets")):
        done = filled("align", "show", *arguments)
        assert (done.status, done.stderr) == (2, "error: name either ALIGNER or --collection (USAGE)\n")


def test_a_shadow_is_set_shown_and_taken_off(filled: Isthmus) -> None:
    """The figures as people read them and as one document; exactly one of the three is asked for."""
    done = filled("align", "shadow", "--collection", "pets", "--aligner", ALIGNER)
    for text in (
        rf"shadow aligner +{ALIGNER}",
        r"state +a share of the searches is compared",
        r"compared +40 searches, 50 queries",
        r"answers in common +75\.0 %",
        r"best answer changed +50\.0 % of the queries",
        r"own modality's share +100\.0 % now, 37\.5 % with it",
        r"time a query +2\.00 ms now, 3\.00 ms with it",
    ):
        assert re.search(text, done.stdout), text
    assert "5.0 % of the searches are chosen; 3 were dropped for load" in done.stderr
    found = filled("align", "shadow", "-c", "pets", "--show", "--json").json()
    assert (found["collection"], found["aligner"], found["overlap"], found["state"]) == ("pets", ALIGNER, 0.75, "ready")
    assert re.search(rf"shadow aligner +{ALIGNER}", filled("collections", "show", "pets").stdout)
    assert "nothing is compared" in filled("align", "shadow", "-c", "pets", "--off").stdout
    assert filled("align", "shadow", "-c", "pets", "--show", "--json").json()["overlap"] is None
    for arguments in ((), ("--off", "--show"), ("--aligner", ALIGNER, "--off")):
        done = filled("align", "shadow", "-c", "pets", *arguments)
        assert (done.status, done.stderr) == (2, "error: name one of --aligner, --off and --show (USAGE)\n")


def test_a_watched_collection_is_shown_with_its_proposal_and_what_is_unknown(
    filled: Isthmus, gateway: SmallGateway
) -> None:
    """Figures with their noise floors and limits; no 0 where nothing is known; the command that fits anew."""
    shown = filled("watch", "--collection", "pets")
    assert shown.status == 0, shown.stderr
    assert re.search(r"centroid gap, aligned +0\.125", shown.stdout)
    assert "centroid gap, raw" not in shown.stdout
    assert re.search(r"mean of images +25\.0 % +4\.0 +12\.5 % and 2\.0", shown.stdout)
    assert re.search(r"probe recall@10, image queries +unknown +75\.0 %", shown.stdout)
    assert "mean of images: 25.0 %, limit 12.5 %" in shown.stdout
    assert "isthmus align fit --collection c --method center --name a" in shown.stdout
    assert "nothing changes by itself" in shown.stderr
    document = filled("watch", "--collection", "pets", "--json").json()
    assert document["gap"] == {"raw": None, "aligned": 0.125}
    assert document["drift"]["image"]["mean"]["share"] == 0.25
    assert (document["probe"], document["fit_probe"]["gallery"]) == (None, 50)
    assert document["time"] == "2023-11-14T22:13:20.123456+00:00"
    assert document["proposals"][0]["report"]["gap"]["aligned"] == 0.125
    assert filled("watch", "--closed", "--json").json()["proposals"][0]["cause"] == "mean"
    assert gateway.requests["ListProposals"][-1].include_closed
    assert filled("watch", "--collection", "pets", "--dismiss", "0011", "--reason", "known").status == 0
    sent = gateway.requests["DismissProposal"][-1]
    assert (sent.collection, sent.proposal, sent.reason) == ("pets", "0011", "known")


def test_aligners_are_listed_fitted_and_promoted(filled: Isthmus) -> None:
    """The way from a collection to an aligner that is active in it."""
    assert filled("aligners", "list", "--json").json()["aligners"][0]["manifest"]["created_by"] == "a test"
    assert ALIGNER in filled("aligners", "list").stdout
    done = filled("aligners", "fit", "-c", "pets", "--name", "mine", "--method", "shift", "--strength", "0.5")
    assert "mine@0000000000000001" in done.stdout
    assert "isthmus align promote mine@0000000000000001 --collection pets" in done.stderr
    promoted = filled("aligners", "promote", "mine", "-c", "pets", "--allow-unverified", "--json").json()
    assert promoted["aligner"] == "mine"


def test_an_aligner_is_imported_from_its_folder(isthmus: Isthmus) -> None:
    """Both files are read; a folder without them fails on one line that names the file."""
    done = isthmus("aligners", "import", "folder")
    assert (done.status, done.stderr) == (
        1,
        "error: folder/manifest.json: No such file or directory (UNREADABLE_FILE)\n",
    )
    Path("folder").mkdir()
    Path("folder/manifest.json").write_text("{}")
    Path("folder/aligner.safetensors").write_bytes(b"tensors")
    assert isthmus("aligners", "import", "folder", "--json").json()["aligner"] == "mine@0000000000000002"


def test_the_module_is_the_command() -> None:
    """`python -m isthmus.cli` is `isthmus`."""
    done = subprocess.run([sys.executable, "-m", "isthmus.cli", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: isthmus" in done.stdout
