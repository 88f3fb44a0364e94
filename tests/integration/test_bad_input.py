"""Bad input to measures and aligners of a collection: each a typed error that says what to do, and nothing promoted.

Each case goes through gRPC and through the command line of a running mesh.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.client import Client, FitOptions, IsthmusError, Item, Modality, SpacedVector
from isthmus.core.canonical import canonical
from tests.harness.process import Process

DIMENSION = 64
SPACE = "made@00112233445566aa"
OTHER_REVISION = "made@ffeeddccbbaa9988"

pytestmark = pytest.mark.timeout(240)


def _collection(client: Client, *, count: int, modalities: tuple[Modality, ...] = ("image", "text")) -> str:
    """Store pairs in one space, whose images and texts point away from each other."""
    rng = np.random.default_rng(1)
    meaning, gap = rng.normal(size=(count, DIMENSION)), 2.0 * rng.normal(size=DIMENSION)
    name = f"bad-{uuid.uuid4().hex[:8]}"
    client.create_collection(
        name, image_space=SPACE, text_space=SPACE, image_dimension=DIMENSION, text_dimension=DIMENSION
    )
    rows = {"image": canonical(meaning + gap), "text": canonical(meaning - gap)}
    summary = client.upsert(
        name,
        (
            Item(id=f"{modality}-{row}", vector=SpacedVector(vector, modality=modality, space=SPACE), pair_key=f"{row}")
            for modality in modalities
            for row, vector in enumerate(rows[modality])
        ),
    )
    assert not summary.errors
    return name


def _run(mesh: Process, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli", *arguments, "--address", mesh.address, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _cli(mesh: Process, *arguments: str) -> tuple[int, Mapping[str, Any]]:
    done = _run(mesh, *arguments)
    return done.returncode, json.loads(done.stdout)["error"]


_Call = Callable[[Client, str], object]


@pytest.mark.parametrize(
    ("count", "modalities", "call", "command", "reason", "advice"),
    [
        (
            100,
            ("image", "text"),
            lambda client, name: client.fit_aligner(
                name, aligner_id="bad", method="cca", options=FitOptions(dimension=60)
            ),
            ["align", "fit", "--method", "cca", "--dimension", "60", "--name", "bad"],
            "NOT_ENOUGH_PAIRS",
            "at least 120; add pairs, or name a smaller dimension",
        ),
        (
            100,
            ("image",),
            lambda client, name: client.fit_aligner(name, aligner_id="bad", method="center"),
            ["align", "fit", "--method", "center", "--name", "bad"],
            "NOT_ENOUGH_PAIRS",
            "add pairs",
        ),
        (
            100,
            ("text",),
            lambda client, name: client.measure_gap(name),
            ["measure"],
            "NOT_ENOUGH_PAIRS",
            "a gap needs items of both modalities",
        ),
        (
            100,
            ("image",),
            lambda client, name: client.compare_aligners(name),
            ["align", "compare"],
            "NOT_ENOUGH_PAIRS",
            "add pairs",
        ),
        (
            100,
            ("image", "text"),
            lambda client, name: client.fit_aligner(
                name, aligner_id="bad", method="spectral", options=FitOptions(dimension=8, lift=0.0)
            ),
            ["align", "fit", "--method", "spectral", "--dimension", "8", "--lift", "0", "--name", "bad"],
            "INVALID_VECTOR",
            "leave them out, or name a larger lift",
        ),
    ],
    ids=["fewer than 2k pairs", "no texts to fit", "no images to measure", "no texts to compare", "degrees"],
)
def test_what_cannot_be_judged_is_refused_with_what_to_do(
    mesh: Process,
    client: Client,
    count: int,
    modalities: tuple[Modality, ...],
    call: _Call,
    command: list[str],
    reason: str,
    advice: str,
) -> None:
    """The same reason and the same words from both; no aligner comes into being, and none becomes active."""
    name = _collection(client, count=count, modalities=modalities)
    before = client.get_collection(name)
    with pytest.raises(IsthmusError, match=advice) as caught:
        call(client, name)
    assert caught.value.reason == reason
    status, error = _cli(mesh, *command, "--collection", name)
    assert (status, error["reason"], error["message"]) == (1, reason, caught.value.message)
    assert client.get_collection(name) == before
    assert [one.kind for one in client.list_promotions(name).promotions] == ["created"]
    assert "bad" not in {found.aligner.partition("@")[0] for found in client.list_aligners()}


@pytest.mark.parametrize(
    ("vector", "space", "reason", "advice"),
    [
        (np.zeros(DIMENSION, np.float32), SPACE, "INVALID_VECTOR", "leave such items out"),
        (np.full(DIMENSION, np.nan, np.float32), SPACE, "INVALID_VECTOR", "leave such items out"),
        (np.ones(DIMENSION, np.float32), OTHER_REVISION, "SPACE_MISMATCH", "encode with its encoder"),
    ],
    ids=["zero", "not a number", "another revision of the encoder"],
)
def test_a_vector_that_is_none_of_the_collection_s_never_gets_in(
    mesh: Process, client: Client, tmp_path: Path, vector: Any, space: str, reason: str, advice: str
) -> None:
    """It is refused by itself, at the door, so that no measure and no fit ever meets it; its neighbours stay."""
    name = _collection(client, count=20)
    stored = client.get_collection(name).image_count
    bad = Item(id="bad", vector=SpacedVector(vector, modality="image", space=space), pair_key="bad")
    (error,) = client.upsert(name, [bad]).errors
    assert (error.id, error.reason) == ("bad", reason)
    assert advice in error.message
    np.savez(tmp_path / "bad.npz", id=np.array(["bad"]), image=vector[None], image_space=np.array(space))
    done = _run(mesh, "index", str(tmp_path / "bad.npz"), "--collection", name)
    assert done.returncode == 1
    assert reason in done.stdout + done.stderr
    assert advice in done.stdout + done.stderr
    assert client.get_collection(name).image_count == stored


def test_an_artefact_with_a_flipped_bit_is_refused_and_nothing_is_promoted(
    mesh: Process, client: Client, tmp_path: Path
) -> None:
    """Wherever the bit is; what is active stays so."""
    name = _collection(client, count=200)
    client.export_aligner(client.fit_aligner(name, aligner_id="whole", method="center").aligner, tmp_path / "whole")
    before = client.get_collection(name)
    for file in ("manifest.json", "aligner.safetensors"):
        folder = tmp_path / f"flipped-{file}"
        folder.mkdir()
        for part in (tmp_path / "whole").iterdir():
            content = bytearray(part.read_bytes())
            if part.name == file:
                content[len(content) // 2] ^= 1
            (folder / part.name).write_bytes(content)
        with pytest.raises(IsthmusError) as caught:
            client.import_aligner(folder)
        assert caught.value.reason == "ARTEFACT_DAMAGED"
        status, error = _cli(mesh, "align", "import", str(folder))
        assert (status, error["reason"], error["message"]) == (1, "ARTEFACT_DAMAGED", caught.value.message)
        assert "copy the artefact again, or fit it anew" in caught.value.message
    assert client.get_collection(name) == before
    assert [one.kind for one in client.list_promotions(name).promotions] == ["created"]
