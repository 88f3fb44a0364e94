"""New collections get the mesh's spaces and, where it fits, its default aligner."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.core.modality import Modality
from isthmus.gateway.collections import CollectionKeeper, NewCollection, SpaceChoice
from isthmus.gateway.domain import AlignerFiles, AlignerInfo, Collection
from isthmus.gateway.embedder import Embedder
from isthmus.runtime.base.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from tests.unit.gateway.memory_encoder import DIMENSION, MemoryEncoder, limits, local_cache
from tests.unit.gateway.memory_services import MemoryAlignment, MemoryWriter

IMAGE, TEXT = "img@0000000000000001", "txt@0000000000000001"
HEADS = AlignerInfo("heads@00000000000000aa", IMAGE, TEXT)


def _keeper(
    *, text_space: str = TEXT, aligners: tuple[AlignerInfo, ...] = (HEADS,), default: str = "heads"
) -> tuple[CollectionKeeper, MemoryWriter, MemoryAlignment]:
    encoders = {
        Modality.IMAGE: MemoryEncoder(Modality.IMAGE, space=IMAGE),
        Modality.TEXT: MemoryEncoder(Modality.TEXT, space=text_space),
    }
    embedder = Embedder(encoders, cache=local_cache(), limits=limits())
    writer, alignment = MemoryWriter(), MemoryAlignment(*aligners)
    return (
        CollectionKeeper(writer=writer, alignment=alignment, embedder=embedder, default_aligner=default),
        writer,
        alignment,
    )


def _new(**fields: Any) -> NewCollection:
    settings: dict[str, Any] = {
        "name": "c",
        "image": SpaceChoice(),
        "text": SpaceChoice(),
        "aligner": "",
        "store_thumbnails": False,
        "request_id": "r",
    }
    return NewCollection(**{**settings, **fields})


async def test_by_default_it_takes_what_the_mesh_encodes() -> None:
    """Spaces, dimensions and the default aligner are the mesh's own."""
    keeper, writer, _ = _keeper()
    made = await keeper.create(_new())
    assert made == Collection(
        name="c", image_space=IMAGE, text_space=TEXT, image_dimension=DIMENSION, text_dimension=DIMENSION
    )
    assert writer.aligners == [AlignerFiles(b"heads", b"tensors")]


async def test_one_raw_space_needs_no_aligner() -> None:
    """With a dual encoder nobody is asked for one."""
    keeper, writer, alignment = _keeper(text_space=IMAGE)
    await keeper.create(_new())
    assert (writer.aligners, alignment.asked) == ([None], [])
    assert await keeper.default_aligner() is None


@pytest.mark.parametrize(
    ("aligners", "default"),
    [
        ((), "heads"),
        ((AlignerInfo("heads@00000000000000aa", IMAGE, "other@0000000000000001"),), "heads"),
        ((HEADS,), ""),
    ],
)
async def test_a_default_that_is_not_there_or_does_not_fit_is_left_out(
    aligners: tuple[AlignerInfo, ...], default: str
) -> None:
    """The collection is made without an aligner; searching across modalities will say what is missing."""
    keeper, writer, _ = _keeper(aligners=aligners, default=default)
    await keeper.create(_new())
    assert writer.aligners == [None]


async def test_a_named_aligner_must_be_there_and_fit() -> None:
    """Asked for by name, it is never silently left out."""
    keeper, _, _ = _keeper()
    with pytest.raises(NotFoundError):
        await keeper.create(_new(aligner="nowhere"))
    with pytest.raises(FailedPreconditionError) as caught:
        await keeper.create(_new(aligner="heads", text=SpaceChoice("own@0000000000000001", 3)))
    assert caught.value.reason == "ALIGNER_SPACES_MISMATCH"


async def test_a_caller_with_one_space_gets_a_collection_of_one_modality() -> None:
    """Naming one space leaves the other empty."""
    keeper, _, _ = _keeper()
    made = await keeper.create(_new(text=SpaceChoice("own@0000000000000001", 3)))
    assert (made.image_space, made.text_space, made.text_dimension) == ("", "own@0000000000000001", 3)


async def test_the_dimension_of_the_meshs_own_space_is_known() -> None:
    """It need not be given; that of any other space must be."""
    keeper, _, _ = _keeper()
    assert (await keeper.create(_new(image=SpaceChoice(IMAGE)))).image_dimension == DIMENSION
    with pytest.raises(InvalidArgumentError) as caught:
        await keeper.create(_new(image=SpaceChoice("own@0000000000000001")))
    assert caught.value.metadata == {"field": "image_dimension"}


async def test_a_promotion_reaches_the_writer_with_its_terms() -> None:
    """The writer alone holds an aligner to the guard; what the caller takes on goes along."""
    keeper, writer, alignment = _keeper()
    await keeper.create(_new(aligner=""))
    await keeper.promote("c", "heads", allow_unverified=True, override_reason="because", request_id="p")
    assert writer.log[-1] == "set aligner p True because"
    assert writer.aligners[-1] == AlignerFiles(b"heads", b"tensors")
    assert alignment.asked[-1] == "heads"


async def test_the_default_of_the_mesh_is_known_by_its_revision() -> None:
    """What the status shows is the aligner that a new collection would get."""
    keeper, _, _ = _keeper()
    assert await keeper.default_aligner() is None  # the encoders are not known yet
    await keeper.create(_new())
    assert await keeper.default_aligner() == HEADS
