"""Hubness correction: offsets of items, what scores become, and which tensors hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.core import (
    Modality,
    NotEnoughItemsError,
    canonical,
)
from isthmus.core.aligners import (
    Artefact,
    FitOptions,
    FitPairs,
    Label,
    add_hubness_correction,
    fit_artefact,
    load_aligner,
)
from isthmus.core.aligners.hubness import HUBNESS_NEIGHBOURS, LOCATION_NEIGHBOURS
from isthmus.core.errors import ArtefactError
from tests.unit.core.conftest import SPACE, Pairs, as_fit_pairs, recall

LABEL = Label(aligner_id="a", created_by="a test")


def nearest_mean(cosines: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the mean of each row's largest cosines."""
    mean: NDArray[np.float32] = np.sort(cosines, axis=1)[:, -count:].mean(axis=1)
    return mean


def test_scores_are_cosines_less_offset_and_location(pairs: FitPairs) -> None:
    """Second route: s - r(x)/2 - l(q)/4, means over the ten and the three nearest, the row itself left out."""
    fitted = add_hubness_correction(fit_artefact("center", pairs, label=LABEL), pairs)
    aligner = load_aligner(Artefact.from_bytes(*fitted.to_bytes()))
    assert aligner.corrects_hubness
    assert aligner.index_dimension == 28
    images, texts = (aligner.align(pairs.vectors(modality), modality) for modality in Modality)
    own = images @ images.T
    np.fill_diagonal(own, -1.0)
    asked = {
        Modality.IMAGE: (images @ images.T, own, own),
        Modality.TEXT: (images @ texts.T,) * 2 + (texts @ images.T,),
    }
    for query, (cosines, offsets, locations) in asked.items():
        expected = cosines - nearest_mean(offsets, HUBNESS_NEIGHBOURS)[:, None] / 2
        expected -= nearest_mean(locations, LOCATION_NEIGHBOURS)[None, :] / 4
        rows = aligner.query_rows(pairs.vectors(query), query)
        served = aligner.item_rows(pairs.images, Modality.IMAGE) @ rows.T
        assert np.abs(served - expected).max() < 1e-3  # 2e-4 measured: samples are float16


def test_without_offsets_rows_of_items_and_queries_are_aligned_rows(pairs: FitPairs) -> None:
    """An index need not know whether an aligner corrects hubness."""
    aligner = load_aligner(fit_artefact("center", pairs, label=LABEL))
    x = pairs.images
    assert not aligner.corrects_hubness
    assert aligner.index_dimension == aligner.dimension
    assert (aligner.item_rows(x, Modality.IMAGE) == aligner.align(x, Modality.IMAGE)).all()
    assert (aligner.query_rows(x, Modality.IMAGE) == aligner.align(x, Modality.IMAGE)).all()


def test_offsets_make_a_hub_less_of_one() -> None:
    """An image that is near to every text is pushed down; recall of the others rises."""
    rng = np.random.default_rng(2)
    texts = rng.normal(size=(120, 16)) + 1.5
    images = texts + 1.2 * rng.normal(size=texts.shape)
    pairs = FitPairs(images=canonical(images), texts=canonical(texts), image_space=SPACE, text_space=SPACE)
    plain = fit_artefact("identity", pairs, label=LABEL)
    corrected = add_hubness_correction(plain, pairs)
    assert recall(pairs, corrected) > recall(pairs, plain) + 0.05


def test_offsets_need_eleven_vectors(make_pairs: Callable[..., Pairs]) -> None:
    """A mean of ten neighbours needs more than ten."""
    few = as_fit_pairs(make_pairs(count=10))
    with pytest.raises(NotEnoughItemsError, match="hubness: 10 vectors of a modality to measure against, at least 11"):
        fit_artefact("center", few, label=LABEL, options=FitOptions(hubness=True))


def test_tensors_that_do_not_fit_are_refused(pairs: FitPairs) -> None:
    """A missing, a misshapen and a foreign tensor are each refused, whatever the digest says."""
    for method in ("spectral", "cca", "transport", "standardize"):
        options = FitOptions(dimension=10 if method in {"cca", "spectral"} else None, hubness=True)
        good = fit_artefact(method, pairs, label=LABEL, options=options)
        tensors = dict(good.tensors)
        broken: list[dict[str, NDArray[np.floating]]] = [
            dict(list(tensors.items())[1:]),
            tensors | {"audio.mean": tensors["hubness.image"]},
            {name: value[..., :3] for name, value in tensors.items()},
            tensors | {"hubness.image": tensors["hubness.image"][:, :2]},
        ]
        for changed in broken:
            with pytest.raises(ArtefactError, match="tensors: "):
                load_aligner(Artefact.create(good.manifest, changed))
    unmoved = replace(good.manifest, method="transport", settings={"moved": "audio"})
    moved = fit_artefact("transport", pairs, label=LABEL)
    with pytest.raises(ArtefactError, match=r"settings\.moved"):
        load_aligner(Artefact.create(unmoved, moved.tensors))
