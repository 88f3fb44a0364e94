"""What the command line shows of the aligners of a mesh and of what is judged there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import ALIGNER, SmallGateway


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
