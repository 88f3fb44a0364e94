"""Create collections with the mesh's own spaces and aligner, and promote aligners."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from isthmus.core.modality import Modality
from isthmus.gateway.domain import AlignerFiles, AlignerInfo, Collection
from isthmus.gateway.embedder import Embedder
from isthmus.gateway.ports import AlignmentPort, WriterPort
from isthmus.runtime.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from isthmus.runtime.base.guard import GuardTerms
from isthmus.runtime.base.logging import fields
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["CollectionKeeper", "NewCollection", "SpaceChoice"]

log = logging.getLogger("isthmus.gateway")


@dataclass(frozen=True, slots=True)
class SpaceChoice:
    """A raw space as a caller asked for it.

    Attributes:
        space: `encoder_id@revision`; empty when the caller did not say.
        dimension: Its dimension; 0 when the caller did not say.
    """

    space: str = ""
    dimension: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCollection:
    """A collection to create.

    Attributes:
        name: Its name.
        image: Raw space of its images.
        text: Raw space of its texts.
        aligner: The aligner to start with; empty means the mesh's default where it fits.
        store_thumbnails: Whether items may carry thumbnails.
        request_id: Names the mutation.
        guard: What an aligner may cost it.
        index: The kind of structure it asks for; None leaves it to the searchers.
        keyword_search: Whether the texts of text items are kept, so that their words can be searched.
    """

    name: str
    image: SpaceChoice
    text: SpaceChoice
    aligner: str
    store_thumbnails: bool
    request_id: str
    guard: GuardTerms = field(default_factory=GuardTerms)
    index: Kind | None = None
    keyword_search: bool = False


class CollectionKeeper:
    """Creates collections and promotes aligners.

    Args:
        writer: The index writer.
        alignment: The alignment service.
        embedder: Knows the mesh's encoders.
        default_aligner: Aligner of new collections of two raw spaces that it accepts; empty means none.
    """

    def __init__(
        self, *, writer: WriterPort, alignment: AlignmentPort, embedder: Embedder, default_aligner: str
    ) -> None:
        self._writer = writer
        self._alignment = alignment
        self._embedder = embedder
        self._default_aligner = default_aligner

    async def create(self, wanted: NewCollection) -> Collection:
        """Create a collection.

        Raises:
            IsthmusError: of the writer; of an encoder or the alignment service that is needed and does not answer.
            InvalidArgumentError: a space without its dimension.
            FailedPreconditionError: ALIGNER_SPACES_MISMATCH.
        """
        own = not wanted.image.space and not wanted.text.space
        image = await self._settle(Modality.IMAGE, wanted.image, own=own)
        text = await self._settle(Modality.TEXT, wanted.text, own=own)
        collection = Collection(
            name=wanted.name,
            image_space=image.space,
            text_space=text.space,
            image_dimension=image.dimension,
            text_dimension=text.dimension,
            store_thumbnails=wanted.store_thumbnails,
            keyword_search=wanted.keyword_search,
            guard=wanted.guard,
            index=wanted.index,
        )
        aligner = await self._aligner(wanted.aligner, image.space, text.space)
        return await self._writer.create_collection(collection, aligner=aligner, request_id=wanted.request_id)

    async def promote(
        self, collection: str, aligner: str, *, allow_unverified: bool, override_reason: str, request_id: str
    ) -> Collection:
        """Make an aligner the active one of a collection; the writer holds it to the guard.

        Raises:
            IsthmusError: of the writer or the alignment service.
        """
        _, artefact = await self._alignment.get_aligner(aligner)
        return await self._writer.set_aligner(
            collection,
            artefact,
            allow_unverified=allow_unverified,
            override_reason=override_reason,
            request_id=request_id,
        )

    async def default_aligner(self) -> AlignerInfo | None:
        """Return the aligner that a collection of the mesh's own spaces starts with, or None."""
        images, texts = (self._embedder.known(modality) for modality in (Modality.IMAGE, Modality.TEXT))
        if not self._default_aligner or images is None or texts is None or images.space == texts.space:
            return None
        found = await self._find_default(images.space, texts.space)
        return None if found is None else found[0]

    async def _settle(self, modality: Modality, choice: SpaceChoice, *, own: bool) -> SpaceChoice:
        """Fill in what the caller left to the mesh."""
        if not choice.space and not own:
            return choice
        if choice.space and choice.dimension:
            return choice
        encoder = await self._embedder.info(modality)
        if own or choice.space == encoder.space:
            return SpaceChoice(encoder.space, encoder.dimension)
        field = f"{modality.value}_dimension"
        msg = f"{field} is required for a space that is not the mesh's own"
        raise InvalidArgumentError(msg, reason="FIELD_REQUIRED", metadata={"field": field})

    async def _aligner(self, name: str, image_space: str, text_space: str) -> AlignerFiles | None:
        if name:
            aligner, artefact = await self._alignment.get_aligner(name)
            if (aligner.image_space, aligner.text_space) != (image_space, text_space):
                msg = "the aligner does not accept the collection's raw spaces"
                raise FailedPreconditionError(
                    msg,
                    reason="ALIGNER_SPACES_MISMATCH",
                    metadata={
                        "aligner_image_space": aligner.image_space,
                        "aligner_text_space": aligner.text_space,
                        "image_space": image_space,
                        "text_space": text_space,
                    },
                )
            return artefact
        if not self._default_aligner or not image_space or not text_space or image_space == text_space:
            return None
        found = await self._find_default(image_space, text_space)
        if found is None:
            log.warning(
                "a collection of two raw spaces starts without an aligner", extra=fields(image_space=image_space)
            )
            return None
        return found[1]

    async def _find_default(self, image_space: str, text_space: str) -> tuple[AlignerInfo, AlignerFiles] | None:
        """Return the default aligner if it is there and accepts these spaces."""
        try:
            aligner, artefact = await self._alignment.get_aligner(self._default_aligner)
        except NotFoundError:
            log.debug("the default aligner is not there", extra=fields(aligner=self._default_aligner))
            return None
        if (aligner.image_space, aligner.text_space) != (image_space, text_space):
            return None
        return aligner, artefact
