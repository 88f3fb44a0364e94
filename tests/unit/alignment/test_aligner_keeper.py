"""The keeper of aligners: get, keep, align; each refusal with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.alignment.aligner_keeper import AlignerKeeper
from isthmus.alignment.config import AlignmentConfig
from isthmus.core import Modality, canonical
from isthmus.core.aligners import Artefact, CenterAligner, IdentityAligner
from isthmus.runtime.base.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    IsthmusError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from tests.unit.alignment.conftest import OTHER_SPACE, SPACE, MakeItems


async def started(config: AlignmentConfig) -> AlignerKeeper:
    """Return a keeper that is ready."""
    keeper = AlignerKeeper(config)
    await keeper.start()
    return keeper


async def keep(keeper: AlignerKeeper, artefact: Artefact, *, request_id: str = "r1") -> Artefact:
    """Import an artefact."""
    manifest, tensors = artefact.to_bytes()
    return await keeper.keep("acme", manifest=manifest, tensors=tensors, request_id=request_id)


def identity(aligner_id: str, *, created_by: str = "a test") -> Artefact:
    """Make an artefact that leaves vectors as they are."""
    return IdentityAligner.fit(aligner_id=aligner_id, space=SPACE, dimension=16, created_by=created_by)


async def test_aligning_needs_the_aligners_own_raw_space(config: AlignmentConfig, make_items: MakeItems) -> None:
    """Vectors of another space are refused with both spaces in the error, never mapped."""
    keeper = await started(config)
    items = make_items()
    artefact = CenterAligner.fit(
        items[Modality.IMAGE].vectors,
        items[Modality.TEXT].vectors[:400],
        aligner_id="mine",
        space=SPACE,
        created_by="a test",
    )
    await keep(keeper, artefact)
    x = canonical(np.random.default_rng(0).normal(size=(5, 16)))
    space, aligned = await keeper.align("acme", "mine", x, modality=Modality.TEXT, space=SPACE)
    assert space == artefact.space
    expected = CenterAligner.from_artefact(artefact).align(x, Modality.TEXT)
    assert (aligned == expected).all()
    with pytest.raises(FailedPreconditionError) as caught:
        await keeper.align("acme", "mine", x, modality=Modality.TEXT, space=OTHER_SPACE)
    assert caught.value.reason == "SPACE_MISMATCH"
    assert caught.value.metadata == {"space": OTHER_SPACE, "expected": SPACE}


@pytest.mark.parametrize("x", [np.full((1, 16), np.nan), np.zeros((1, 16)), np.ones((1, 15))])
async def test_bad_vectors_are_refused(x: NDArray[np.float64], config: AlignmentConfig) -> None:
    """NaN, zero length and a wrong dimension are INVALID_VECTOR."""
    keeper = await started(config)
    await keep(keeper, identity("mine"))
    with pytest.raises(InvalidArgumentError) as caught:
        await keeper.align("acme", "mine", x.astype(np.float32), modality=Modality.IMAGE, space=SPACE)
    assert caught.value.reason == "INVALID_VECTOR"


async def test_an_aligner_that_is_not_there_is_not_found(config: AlignmentConfig) -> None:
    """By name, by revision, and in another tenant."""
    keeper = await started(config)
    await keep(keeper, identity("mine"))
    for tenant, reference in (("acme", "other"), ("acme", f"mine@{'0' * 16}"), ("zenith", "mine")):
        with pytest.raises(NotFoundError) as caught:
            await keeper.get(tenant, reference)
        assert caught.value.reason == "ALIGNER_NOT_FOUND"


async def test_an_imported_artefact_is_verified_first(config: AlignmentConfig) -> None:
    """A damaged one is the caller's mistake; a whole one is kept and listed."""
    keeper = await started(config)
    artefact = identity("given")
    manifest, tensors = artefact.to_bytes()
    with pytest.raises(InvalidArgumentError) as caught:
        await keeper.keep("acme", manifest=manifest, tensors=tensors + b"x", request_id="r")
    assert caught.value.reason == "ARTEFACT_DAMAGED"
    kept = await keeper.keep("acme", manifest=manifest, tensors=tensors, request_id="r")
    assert kept.revision == artefact.revision
    assert "given" in [found.manifest.aligner_id for found in await keeper.list_newest("acme")]


async def test_a_tenant_has_a_bounded_number_of_names(config: AlignmentConfig) -> None:
    """One list holds them all: a name too many is refused, a new revision of a known name is not."""
    keeper = await started(config.model_copy(update={"names_count": 2}))
    await keep(keeper, identity("one"))  # the shipped one is the other name
    with pytest.raises(ResourceExhaustedError) as caught:
        await keep(keeper, identity("two"), request_id="r2")
    assert caught.value.reason == "LIMIT_EXCEEDED"
    await keep(keeper, identity("one", created_by="another test"), request_id="r3")


async def test_an_artefact_damaged_on_disk_is_data_loss(config: AlignmentConfig) -> None:
    """What we kept and cannot verify is our failure, not the caller's."""
    keeper = await started(config)
    artefact = await keep(keeper, identity("mine"))
    folder = Path(config.aligners_dir) / "acme" / "mine" / artefact.revision
    (folder / "aligner.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataLossError) as caught:
        await keeper.get("acme", "mine")
    assert caught.value.reason == "ARTEFACT_DAMAGED"


async def test_before_its_start_the_keeper_is_not_ready(config: AlignmentConfig) -> None:
    """A call that comes too early is told to come back."""
    keeper = AlignerKeeper(config)
    with pytest.raises(UnavailableError) as caught:
        await keeper.get("acme", "mine")
    assert caught.value.reason == "NOT_READY"


async def test_every_refusal_is_safe_to_show(config: AlignmentConfig) -> None:
    """No path, no module and no Python in any message."""
    keeper = await started(config)
    messages = []
    for attempt in (
        keeper.get("acme", "none"),
        keeper.keep("acme", manifest=b"{", tensors=b"", request_id="r"),
        keeper.align("acme", "none", np.ones((1, 2), np.float32), modality=Modality.IMAGE, space=SPACE),
    ):
        with pytest.raises(IsthmusError) as caught:
            await attempt
        messages.append(caught.value.message)
    for message in messages:
        assert str(config.aligners_dir) not in message
        assert "isthmus." not in message
        assert "Error" not in message
