"""What every command promises: one JSON document, tables for people, errors on one line, exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer.main

from isthmus.cli.main import app
from isthmus.runtime.base import errors as served
from tests.unit.cli.conftest import Isthmus
from tests.unit.client.small_gateway import ALIGNER, IMAGE_SPACE, TEXT_SPACE, Running, SmallGateway

ISSUE_COMMANDS = {
    "up",
    "status",
    "collections list",
    "collections create",
    "collections show",
    "collections delete",
    "collections backup",
    "collections restore",
    "aliases list",
    "aliases set",
    "aliases delete",
    "index",
    "bulk-index",
    "items erase",
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
    assert isthmus("collections", "create", "many", "--index", "ivf_sq8", "--json").json()["index"] == "ivf_sq8"
    shown = isthmus("collections", "show", "many").stdout
    found = r"image search +ivf_sq8 for 200000 items, 100.0 MiB, recall@10 96.\d ?% on queries of the other modality"
    assert re.search(found, shown)
    assert re.search(r"image recall +92.5 ?% @10 on 100 real queries, of 95.0 ?%; LOW", shown)
    assert "text recall" not in shown
    assert re.search(r"text search +all vectors; ivf_pq does not fit: 2,048 MiB in all, of 1,024 MiB", shown)
    assert isthmus("collections", "show", "many", "--json").json()["structures"][0]["recall"] == 0.9625
    assert isthmus("collections", "create", "odd", "--index", "annoy").status == 2
    assert isthmus("collections", "delete", "many").status == 0
    assert re.search(r"pets +0 +0 +1 ", isthmus("collections", "list").stdout)
    assert isthmus("collections", "delete", "pets", "--json").json() == {"deleted": "pets"}
    done = isthmus("collections", "delete", "pets")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("error: there is no such collection (COLLECTION_NOT_FOUND)\n  hint: ")


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


def test_the_module_is_the_command() -> None:
    """`python -m isthmus.cli` is `isthmus`."""
    done = subprocess.run([sys.executable, "-m", "isthmus.cli", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: isthmus" in done.stdout
