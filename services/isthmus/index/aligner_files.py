"""From an artefact's two files to an aligner that fits a collection."""

from __future__ import annotations

from isthmus.core.aligners import Aligner, Artefact, load_aligner
from isthmus.core.errors import ArtefactError, SpacesMismatchError
from isthmus.index.model import AlignerFiles, CollectionSettings
from isthmus.runtime.base.errors import DataLossError, FailedPreconditionError, InvalidArgumentError

__all__ = ["accept_aligner", "stored_aligner"]


def accept_aligner(files: AlignerFiles, settings: CollectionSettings) -> Aligner:
    """Check an artefact that a caller wants to make active.

    Raises:
        InvalidArgumentError: ARTEFACT_DAMAGED; or INVALID_FIELD, a hubness correction without a fitted calibration.
        FailedPreconditionError: ALIGNER_SPACES_MISMATCH; metadata holds the spaces.
    """
    try:
        aligner = load_aligner(Artefact.from_bytes(files.manifest, files.tensors))
    except (ArtefactError, SpacesMismatchError) as error:
        msg = "the aligner's artefact is damaged or of an unknown kind"
        raise InvalidArgumentError(msg, reason="ARTEFACT_DAMAGED") from error
    if aligner.corrects_hubness and aligner.calibration is None:
        # A searcher estimates a calibration from items against items, and an item's row is not a query's.
        msg = "an aligner that corrects hubness needs a fitted calibration; fit it again with one"
        raise InvalidArgumentError(msg, reason="INVALID_FIELD", metadata={"field": "aligner"})
    for modality in settings.modalities:
        accepted, space = aligner.raw_space(modality), settings.space(modality)
        if accepted != space or aligner.raw_dimension(modality) != settings.dimension(modality):
            msg = f"the aligner does not accept the collection's {modality} space"
            metadata = {"modality": modality.value, "space": space, "accepted": accepted}
            raise FailedPreconditionError(msg, reason="ALIGNER_SPACES_MISMATCH", metadata=metadata)
    return aligner


def stored_aligner(files: AlignerFiles) -> Aligner:
    """Load an aligner that the writer accepted.

    Raises:
        DataLossError: STORE_DAMAGED.
    """
    try:
        return load_aligner(Artefact.from_bytes(files.manifest, files.tensors))
    except (ArtefactError, SpacesMismatchError) as error:
        msg = "a stored aligner does not match its digest"
        raise DataLossError(msg, reason="STORE_DAMAGED") from error
