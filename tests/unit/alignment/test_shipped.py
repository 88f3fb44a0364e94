"""The aligner that comes with Isthmus: small, licensed, fit for the embedded encoders, as good as its card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.alignment.artefact_store import SHIPPED_FOLDER, ArtefactStore
from isthmus.core.aligners import Artefact, load_aligner
from isthmus.core.calibration import CalibrationSource
from isthmus.encoders import EncoderSpec, load_image_tower, load_text_tower

FOLDER = SHIPPED_FOLDER / "flickr8k-heads"


@pytest.fixture(scope="module")
def artefact() -> Artefact:
    """The shipped artefact, verified."""
    return Artefact.load(FOLDER)


def test_it_is_at_most_three_megabytes() -> None:
    """Both files together: 2,947,150 bytes measured."""
    assert sum((FOLDER / name).stat().st_size for name in ("manifest.json", "aligner.safetensors")) <= 3_000_000


def test_it_accepts_the_exact_spaces_of_the_embedded_encoders(artefact: Artefact) -> None:
    """A changed encoder digest without new heads would leave a fresh installation without search."""
    assert artefact.manifest.image_space == load_image_tower(EncoderSpec()).info.space
    assert artefact.manifest.text_space == load_text_tower(EncoderSpec()).info.space


def test_every_tenant_sees_it_under_its_name(artefact: Artefact, tmp_path: Path) -> None:
    """`embedded-heads` is what new collections start with."""
    found = ArtefactStore(tmp_path).find("anybody", "embedded-heads")
    assert found is not None
    assert found.space == artefact.space


def test_it_has_a_fitted_calibration_and_a_report(artefact: Artefact) -> None:
    """Figures on pairs that it never saw stand in its manifest; 323 photos were held out for them."""
    calibration = load_aligner(artefact).calibration
    assert calibration is not None
    assert calibration.source is CalibrationSource.FITTED
    assert artefact.manifest.report["n"] > 200
    assert artefact.manifest.report["recall"]["t2i"]["r1"] > 0.35  # 0.41 measured, among 323 photos


def test_licence_and_card_lie_beside_it(artefact: Artefact) -> None:
    """Derived from Flickr8k: research and education only, cited, and the card speaks of this very revision."""
    licence = (FOLDER / "LICENSE").read_text()
    assert "research and education, non-commercial" in licence
    assert "Hodosh" in licence
    assert artefact.space in (FOLDER / "MODEL_CARD.md").read_text()
