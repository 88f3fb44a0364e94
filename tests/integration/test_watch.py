"""Watching through the public API, on a mesh of its own: drifted items come in, gauges move, a re-fit is proposed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.client import Client, GuardLimits, Item, Modality, NotFoundError, SpacedVector, WatchReport
from tests.harness.mesh import start_mesh
from tests.harness.metrics import free_port, read
from tests.harness.process import Process
from tests.harness.shared import SHARED_DATA, needs

COCO = SHARED_DATA / "clip_coco" / "clip_vitb16_coco_val2017_250.npz"
SPACE = "clip-vit-b-16@00c0c0a250c0c0a2"
NAME = "things"

pytestmark = [needs(COCO), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def vectors() -> dict[Modality, NDArray[np.float32]]:
    """250 COCO photos and one caption of each, embedded by CLIP ViT-B/16."""
    with np.load(COCO) as arrays:
        return {"image": arrays["image"].astype(np.float32), "text": arrays["text"].astype(np.float32)}


def _environment() -> dict[str, str]:
    """Return settings with which looks come within a second."""
    return {
        "ISTHMUS_ALIGNMENT_WATCH_INTERVAL_S": "0.3",
        "ISTHMUS_ALIGNMENT_WATCH_BUSY_SHARE": "1",
        "ISTHMUS_GATEWAY_WATCH_REFRESH_S": "0.2",
    }


def _items(vectors: Mapping[Modality, NDArray[np.float32]], *, prefix: str) -> Iterator[Item]:
    for modality, rows in vectors.items():
        for row, vector in enumerate(rows):
            yield Item(
                id=f"{prefix}-{modality}-{row}",
                vector=SpacedVector(vector, modality=modality, space=SPACE),
                pair_key=f"{prefix}-{row}",
            )


def _eventually(look: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Return what `look` returns once it is true."""
    until = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until, f"it did not happen within {within_s} s"
        time.sleep(0.05)
    return found


def _looked(client: Client, revision: int) -> WatchReport:
    """Return a look at this revision or a later one."""

    def look() -> WatchReport | None:
        found = client.get_watch(NAME)
        return found if found.revision >= revision else None

    report: WatchReport = _eventually(look)
    return report


def _gauges(port: int, name: str) -> dict[tuple[str, ...], float]:
    """Return a gauge's samples of the collection by the values of its other labels, sorted by their names."""
    found = {}
    for labels, value in read(port).get(name, {}).items():
        others = dict(labels)
        if others.pop("collection") == NAME and others.pop("tenant") == "default":
            found[tuple(value for _, value in sorted(others.items()))] = value
    return found


def _cli(address: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "isthmus.cli", *arguments, "--address", address, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _start(tmp_path: Path, port: int) -> Process:
    return start_mesh(tmp_path, "--metrics-port", str(port), env=_environment())


def _fill(client: Client, vectors: Mapping[Modality, NDArray[np.float32]]) -> int:
    """Make the collection with its pairs; return the revision."""
    dimension = vectors["image"].shape[1]
    client.create_collection(
        NAME,
        image_space=SPACE,
        text_space=SPACE,
        image_dimension=dimension,
        text_dimension=dimension,
        guard=GuardLimits(epsilon=0.15),
    )
    return client.upsert(NAME, _items(vectors, prefix="a")).revision


def _promote(client: Client) -> tuple[str, int]:
    """Fit and promote; return the aligner and the revision."""
    fitted = client.fit_aligner(NAME, aligner_id="quiet", method="center")
    return fitted.aligner, client.promote_aligner(NAME, fitted.aligner, override_reason="for a test").revision


def _see_quiet(client: Client, port: int, vectors: Mapping[Modality, NDArray[np.float32]]) -> str:
    """Fit to the pairs that are there: no drift, no proposal; return the aligner."""
    unfitted = _looked(client, _fill(client, vectors))
    assert (unfitted.aligner, unfitted.drift, unfitted.fit_probe) == ("", {}, None)
    assert unfitted.raw_gap == pytest.approx(0.85, abs=0.05)
    aligner, revision = _promote(client)
    quiet = _looked(client, revision)
    assert (quiet.aligner, quiet.pairs, quiet.proposals, quiet.unmeasured) == (aligner, 250, (), "")
    assert quiet.drift["image"].mean.share < 0.05
    assert quiet.drift["text"].spectrum.floors < 1.5
    assert quiet.probe is not None
    assert quiet.probe == quiet.fit_probe
    assert quiet.aligned_gap is not None
    assert quiet.aligned_gap < 0.2
    _eventually(lambda: ("image", "mean") in _gauges(port, "isthmus_drift_share"))
    assert _gauges(port, "isthmus_drift_share")["image", "mean"] < 0.05
    assert set(_gauges(port, "isthmus_refit_proposals").values()) == {0.0}
    return aligner


def _see_drift(client: Client, port: int, texts: NDArray[np.float32], aligner: str) -> WatchReport:
    """Store captions sold as photos: gauges move and a re-fit is proposed, once; the aligner stays."""
    revision = client.upsert(NAME, _items({"image": texts, "text": texts}, prefix="b")).revision
    moved = _looked(client, revision)
    assert moved.drift["image"].mean.share > 0.4  # 0.60 measured
    mean = next(one for one in moved.proposals if one.cause == "mean")
    assert (mean.subject, mean.state, mean.aligner) == ("image", "open", aligner)
    assert mean.figure >= mean.limit == moved.limits.mean_share
    assert mean.command == f"isthmus align fit --collection {NAME} --method center --name quiet"
    assert json.loads(mean.report_json)["drift"]["image"]["mean"]["share"] == mean.figure
    _eventually(lambda: _gauges(port, "isthmus_refit_proposals").get(("mean",)) == 1.0)
    assert _gauges(port, "isthmus_drift_share")["image", "mean"] > 0.4
    assert _gauges(port, "isthmus_gap_centroid")["aligned",] == pytest.approx(moved.aligned_gap)
    assert _gauges(port, "isthmus_watch_timestamp_seconds")[()] == pytest.approx(time.time(), abs=120)
    again = _looked(client, client.upsert(NAME, _items({"image": texts[:60]}, prefix="c")).revision)
    assert {one.proposal for one in again.proposals} == {one.proposal for one in moved.proposals}
    assert client.status().open_proposals == len(moved.proposals)
    assert client.get_collection(NAME).aligner == aligner
    return moved


def _see_the_command_line(address: str, moved: WatchReport) -> None:
    """Show the same under the same keys as the record."""
    report = json.loads(moved.proposals[0].report_json)
    shown = _cli(address, "watch", "--collection", NAME)
    for one, other in (
        (shown["gap"], report["gap"]),
        (shown["probe"], report["probe"]),
        (shown["drift"]["image"], report["drift"]["image"]),
        (shown["drift"]["image"]["mean"], report["drift"]["image"]["mean"]),
    ):
        assert one.keys() == other.keys()
    assert {one["proposal"] for one in shown["proposals"]} == {one.proposal for one in moved.proposals}
    assert len(_cli(address, "watch")["proposals"]) == len(moved.proposals)


def _see_dismissal(client: Client, moved: WatchReport) -> None:
    """Close all but one on a person's word; it is closed once."""
    for one in moved.proposals:
        if one.cause != "mean":
            closed = client.dismiss_proposal(NAME, one.proposal, reason="known")
            assert (closed.state, closed.reason) == ("dismissed", "known")
            assert client.dismiss_proposal(NAME, one.proposal, reason="another").reason == "known"
    assert [one.cause for one in client.list_proposals(NAME)] == ["mean"]
    with pytest.raises(NotFoundError, match="PROPOSAL_NOT_FOUND"):
        client.dismiss_proposal(NAME, "0" * 16)


def _see_promotion_close(client: Client, port: int) -> None:
    """Promote another aligner: what was said of the one before is closed, and what it is fitted to is quiet."""
    aligner, revision = _promote(client)
    _eventually(lambda: not client.list_proposals(NAME))
    history = {one.cause: one for one in client.list_proposals(NAME, include_closed=True)}
    assert history["mean"].state == "superseded"
    assert history["mean"].closed is not None
    settled = _looked(client, revision)
    assert (settled.aligner, settled.proposals) == (aligner, ())
    _eventually(lambda: set(_gauges(port, "isthmus_refit_proposals").values()) == {0.0})


def test_drift_is_seen_proposed_kept_over_a_restart_and_closed_by_a_promotion(
    tmp_path: Path, vectors: dict[Modality, NDArray[np.float32]]
) -> None:
    """Quiet on the pairs of the fit; captions sold as photos are seen; nobody but a person changes an aligner."""
    port = free_port()
    with _start(tmp_path, port) as mesh, Client(mesh.address) as client:
        aligner = _see_quiet(client, port, vectors)
        moved = _see_drift(client, port, vectors["text"], aligner)
        _see_the_command_line(mesh.address, moved)
    with _start(tmp_path, port) as mesh, Client(mesh.address) as client:
        assert set(client.list_proposals(NAME)) == set(moved.proposals)
        assert client.get_watch(NAME).drift["image"].mean.share > 0.4
        assert client.get_collection(NAME).aligner == aligner
        _see_dismissal(client, moved)
        _see_promotion_close(client, port)
        client.delete_collection(NAME)
        _eventually(lambda: not _gauges(port, "isthmus_watch_timestamp_seconds"))
        assert _gauges(port, "isthmus_drift_share") == {}
        assert client.list_proposals() == ()
        with pytest.raises(NotFoundError, match="COLLECTION_NOT_FOUND"):
            client.get_watch(NAME)
