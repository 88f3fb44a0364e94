"""The aligners: what each does to a vector, and what all of them promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from isthmus.core import ArtefactError, Modality, NotEnoughItemsError, ShapeError, SpacesMismatchError, canonical
from isthmus.core.aligners import (
    METHODS,
    Aligner,
    Artefact,
    CenterAligner,
    FitOptions,
    FitPairs,
    HeadsAligner,
    IdentityAligner,
    Label,
    Manifest,
    fit_artefact,
    load_aligner,
)
from isthmus.core.aligners.heads import Head
from tests.unit.core.conftest import SPACE, Pairs

OTHER_SPACE = "minilm@ffeeddccbbaa9988"

OPTIONS = {
    "shift": FitOptions(strength=0.7),
    "center": FitOptions(),
    "standardize": FitOptions(),
    "procrustes": FitOptions(),
    "cca": FitOptions(dimension=12),
    "ridge": FitOptions(),
    "spectral": FitOptions(dimension=10),
    "transport": FitOptions(),
}


def head(rng: np.random.Generator, *, raw: int, hidden: int, dimension: int) -> Head:
    """Return a random head whose numbers are float16 values, so that packing changes none."""

    def numbers(*shape: int) -> NDArray[np.float32]:
        return rng.normal(scale=0.3, size=shape).astype(np.float16).astype(np.float32)

    return Head(
        weight=numbers(dimension, raw),
        bias=numbers(dimension),
        hidden_weight=numbers(hidden, raw),
        hidden_bias=numbers(hidden),
        output_weight=numbers(dimension, hidden),
    )


def heads_artefact(image: Head, text: Head, **changes: object) -> Artefact:
    """Pack two heads."""
    fields: dict[str, object] = {
        "aligner_id": "heads-1",
        "method": "heads",
        "image_space": SPACE,
        "text_space": OTHER_SPACE,
        "dimension": len(image.weight),
        "created_by": "a test",
        "pair_count": 10,
        "seed": 0,
    }
    return HeadsAligner.pack(Manifest(**(fields | changes)), image=image, text=text)  # type: ignore[arg-type]


@pytest.fixture
def aligners(rng: np.random.Generator, make_pairs: Callable[..., Pairs]) -> list[Aligner]:
    """One aligner of each method, all for 24-dimensional raw vectors."""
    pairs = make_pairs()
    fit_pairs = FitPairs(
        images=pairs.images,
        texts=pairs.texts,
        owners=np.repeat(np.arange(len(pairs.images)), 3),
        image_space=SPACE,
        text_space=SPACE,
    )
    artefacts = [
        IdentityAligner.fit(aligner_id="identity", space=SPACE, dimension=24, created_by="a test"),
        *(
            fit_artefact(method, fit_pairs, label=Label(aligner_id=method, created_by="a test"), options=options)
            for method, options in OPTIONS.items()
        ),
        heads_artefact(
            head(rng, raw=24, hidden=40, dimension=16),
            head(rng, raw=24, hidden=40, dimension=16),
            text_space=SPACE,
        ),
    ]
    return [load_aligner(Artefact.from_bytes(*artefact.to_bytes())) for artefact in artefacts]


def test_every_method_has_a_fixture(aligners: list[Aligner]) -> None:
    """The tests of this file speak for all methods there are."""
    assert [aligner.method for aligner in aligners] == list(METHODS)


def test_aligned_rows_have_unit_norm(aligners: list[Aligner], rng: np.random.Generator) -> None:
    """Every method returns float32 rows of length 1, as many as it was given, in its own dimension."""
    x = canonical(rng.normal(size=(70, 24)))
    for aligner in aligners:
        for modality in Modality:
            y = aligner.align(x, modality)
            assert y.dtype == np.float32
            assert y.shape == (70, aligner.dimension)
            # canonical rows are of unit norm within float16 rounding only, and identity keeps them
            assert np.abs(np.linalg.norm(y, axis=1) - 1).max() < 5e-4


def test_no_row_depends_on_its_batch(aligners: list[Aligner], rng: np.random.Generator) -> None:
    """A row alone, in a small and in a large batch: equal bits without a matrix product, else within 1e-6."""
    x = canonical(rng.normal(size=(2_500, 24)))
    for aligner in aligners:
        exact = aligner.method in {"identity", "shift", "center", "standardize"}
        bound = 0.0 if exact else 1e-6
        for modality in Modality:
            whole = aligner.align(x, modality)
            for rows in (slice(0, 1), slice(7, 8), slice(100, 133), slice(1_000, 2_100)):
                assert np.abs(aligner.align(x[rows], modality) - whole[rows]).max() <= bound


def test_aligning_twice_gives_equal_bits(aligners: list[Aligner], rng: np.random.Generator) -> None:
    """Aligning is a pure function."""
    x = canonical(rng.normal(size=(33, 24)))
    for aligner in aligners:
        assert (aligner.align(x, Modality.IMAGE) == aligner.align(x, Modality.IMAGE)).all()


def test_no_rows_give_no_rows(aligners: list[Aligner]) -> None:
    """An empty batch comes back empty, in the aligned dimension."""
    for aligner in aligners:
        assert aligner.align(np.empty((0, 24), np.float32), Modality.TEXT).shape == (0, aligner.dimension)


def test_a_wrong_dimension_is_refused(aligners: list[Aligner]) -> None:
    """Vectors of another dimension are of another space."""
    for aligner in aligners:
        with pytest.raises(ShapeError, match="dimension must be 24, got 23"):
            aligner.align(np.ones((2, 23), np.float32), Modality.IMAGE)
        with pytest.raises(ShapeError):
            aligner.align(np.ones(24, np.float32), Modality.IMAGE)


def test_every_aligner_names_its_spaces(aligners: list[Aligner]) -> None:
    """The aligned space is the artefact's name and revision; the raw ones come from its manifest."""
    for aligner in aligners:
        assert aligner.space == f"{aligner.artefact.manifest.aligner_id}@{aligner.artefact.revision}"
        assert aligner.raw_space(Modality.IMAGE) == aligner.image_space == SPACE
        assert aligner.raw_dimension(Modality.TEXT) == 24
        assert aligner.calibration is None


def test_identity_is_exact(aligners: list[Aligner], rng: np.random.Generator) -> None:
    """Not one bit changes."""
    x = canonical(rng.normal(size=(20, 24)))
    assert (aligners[0].align(x, Modality.IMAGE) == x).all()


def test_identity_and_center_need_one_raw_space(make_pairs: Callable[..., Pairs]) -> None:
    """Nothing but learned heads may join two raw spaces: an artefact that claims to is refused."""
    pairs = make_pairs()
    center = CenterAligner.fit(pairs.images, pairs.texts, aligner_id="a", space=SPACE, created_by="a test")
    for method, tensors in (("identity", {}), ("center", dict(center.tensors))):
        manifest = Manifest(
            aligner_id="a",
            method=method,
            image_space=SPACE,
            text_space=OTHER_SPACE,
            dimension=24,
            created_by="a test",
            pair_count=0,
            seed=0,
        )
        with pytest.raises(SpacesMismatchError, match="one raw space"):
            load_aligner(Artefact.create(manifest, tensors))


def test_centring_closes_the_gap_between_the_centroids(make_pairs: Callable[..., Pairs]) -> None:
    """Before rescaling both centroids are the origin; after it the gap is a twentieth of what it was."""
    pairs = make_pairs(count=400)
    artefact = CenterAligner.fit(pairs.images, pairs.texts, aligner_id="a", space=SPACE, created_by="a test")
    for modality, vectors in pairs.vectors.items():
        centred = vectors.astype(np.float64) - artefact.tensors[f"{modality}.mean"]
        assert np.abs(centred.mean(axis=0)).max() < 1e-7  # 7e-9 measured
    aligner = load_aligner(artefact)
    aligned = {modality: aligner.align(vectors, modality) for modality, vectors in pairs.vectors.items()}

    def gap(vectors: dict[Modality, NDArray[np.float32]]) -> float:
        return float(np.linalg.norm(vectors[Modality.IMAGE].mean(axis=0) - vectors[Modality.TEXT].mean(axis=0)))

    assert gap(aligned) < 0.05 * gap(pairs.vectors)  # 1.19 to 0.034 measured


def test_a_vector_equal_to_its_mean_is_returned_as_it_came() -> None:
    """Centring leaves such a vector without direction; a NaN would poison an index."""
    x = canonical(np.ones((2, 24)))
    aligner = load_aligner(CenterAligner.fit(x, x, aligner_id="a", space=SPACE, created_by="a test"))
    assert (aligner.align(x, Modality.IMAGE) == x).all()


def test_center_needs_two_vectors_a_modality(make_pairs: Callable[..., Pairs]) -> None:
    """A mean of one vector is that vector."""
    pairs = make_pairs()
    with pytest.raises(NotEnoughItemsError):
        CenterAligner.fit(pairs.images[:1], pairs.texts, aligner_id="a", space=SPACE, created_by="a test")
    with pytest.raises(ShapeError):
        CenterAligner.fit(pairs.images[:, :9], pairs.texts, aligner_id="a", space=SPACE, created_by="a test")


def test_heads_compute_their_formula(rng: np.random.Generator) -> None:
    """Second route: the formula row by row in float64, with SciPy's normal distribution for the GELU."""
    image, text = head(rng, raw=9, hidden=5, dimension=4), head(rng, raw=6, hidden=0, dimension=4)
    aligner = load_aligner(heads_artefact(image, text))
    x, t = rng.normal(size=(5, 9)).astype(np.float32), rng.normal(size=(3, 6)).astype(np.float32)
    expected = []
    for row in x.astype(np.float64):
        inner = image.hidden_weight @ row + image.hidden_bias
        y = image.weight @ row + image.bias + image.output_weight @ (inner * norm.cdf(inner))
        expected.append(y / np.linalg.norm(y))
    assert np.abs(aligner.align(x, Modality.IMAGE) - expected).max() < 1e-6  # 1e-7 measured
    linear = t.astype(np.float64) @ text.weight.T + text.bias
    linear /= np.linalg.norm(linear, axis=1, keepdims=True)
    assert np.abs(aligner.align(t, Modality.TEXT) - linear).max() < 1e-6


def test_a_head_that_maps_to_zero_still_gives_a_unit_row(rng: np.random.Generator) -> None:
    """Zero output has no direction; the row gets the fixed one (1, …, 1)."""
    zero = Head(
        weight=np.zeros((4, 9), np.float32),
        bias=np.zeros(4, np.float32),
        hidden_weight=np.zeros((0, 9), np.float32),
        hidden_bias=np.zeros(0, np.float32),
        output_weight=np.zeros((4, 0), np.float32),
    )
    aligner = load_aligner(heads_artefact(zero, head(rng, raw=6, hidden=3, dimension=4)))
    assert aligner.align(np.ones((1, 9), np.float32), Modality.IMAGE).tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_heads_refuse_tensors_that_do_not_fit_together(rng: np.random.Generator) -> None:
    """A missing, a superfluous and a misshapen tensor are each refused, whatever the digest says."""
    good = heads_artefact(head(rng, raw=9, hidden=5, dimension=4), head(rng, raw=6, hidden=3, dimension=4))
    tensors = dict(good.tensors)
    broken: dict[str, dict[str, NDArray[np.floating[Any]]]] = {
        "missing": {name: value for name, value in tensors.items() if name != "image.hidden.bias"},
        "superfluous": tensors | {"audio.linear.weight": tensors["image.linear.weight"]},
        "misshapen": tensors | {"text.output.weight": tensors["text.output.weight"][:, :2]},
        "flat": tensors | {"text.linear.weight": tensors["text.linear.weight"].ravel()},
        "empty": {},
    }
    for changed in broken.values():
        artefact = Artefact.create(good.manifest, changed)
        with pytest.raises(ArtefactError, match="tensors: "):
            load_aligner(artefact)


def test_numbers_beyond_float16_are_refused(rng: np.random.Generator) -> None:
    """Inf in a shipped tensor would be NaN in every answer."""
    large = head(rng, raw=9, hidden=5, dimension=4)
    large.weight[0, 0] = 1e6
    with pytest.raises(ArtefactError, match="finite"):
        heads_artefact(large, head(rng, raw=6, hidden=3, dimension=4))


def test_heads_of_two_dimensions_are_refused(rng: np.random.Generator) -> None:
    """Both towers must end in the manifest's dimension."""
    with pytest.raises(ArtefactError, match="must end in dimension 4"):
        heads_artefact(head(rng, raw=9, hidden=5, dimension=4), head(rng, raw=6, hidden=3, dimension=5))


def test_an_unknown_method_is_refused() -> None:
    """A method of a later version is named as such, not guessed at."""
    artefact = IdentityAligner.fit(aligner_id="a", space=SPACE, dimension=4, created_by="a test")
    manifest = Manifest(**(vars(artefact.manifest) | {"method": "of-tomorrow"}))
    with pytest.raises(ArtefactError, match="method must be one of identity, shift, center"):
        load_aligner(Artefact.create(manifest, {}))


def test_a_class_refuses_an_artefact_of_another_method() -> None:
    """An artefact is applied by the class it was made for."""
    artefact = IdentityAligner.fit(aligner_id="a", space=SPACE, dimension=4, created_by="a test")
    with pytest.raises(ArtefactError, match="method is not heads"):
        HeadsAligner.from_artefact(artefact)
