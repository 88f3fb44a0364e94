"""One segment in one file: its structure, its items, and what both were made of."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from isthmus.core.aligners import Aligner
from isthmus.core.modality import Modality
from isthmus.index.cache.container import Container, DamagedContainerError, of_buffers, write_container
from isthmus.index.cache.faiss_bytes import faiss_blob, read_faiss
from isthmus.index.model import CollectionSettings
from isthmus.index.segments import Segment
from isthmus.runtime.base.shards import Shard

__all__ = ["MadeOf", "SavedSegment", "made_of", "read_segment", "segment_name", "write_segment"]

MadeOf: TypeAlias = Mapping[str, str | int]
"""All that decides what a structure is made of the rows of a store: where it differs, the file is of no use."""

_KIND: Final = "segment"
_SOFTWARE: Final = f"isthmus {importlib.metadata.version('isthmus')}, faiss {faiss.__version__}"
"""Another version may align or build otherwise: a new one builds from the store, once."""
_NAME_HEX_COUNT: Final = 24


@dataclass(frozen=True, slots=True)
class SavedSegment:
    """A segment that was read from a file.

    Attributes:
        segment: As it was.
        digests: (n,) of its rows in the store, by which each was verified before it was written.
    """

    segment: Segment
    digests: pa.Array

    @property
    def items(self) -> pa.Table:
        """What a census is asked of: the items with the digests of their rows."""
        return self.segment.items.append_column("row_digest", self.digests)


def made_of(
    collection_uuid: str, settings: CollectionSettings, aligner: Aligner | None, modality: Modality, shard: Shard
) -> MadeOf:
    """Return what structures of a collection, or of a part of it, are made of."""
    return {
        "software": _SOFTWARE,
        "collection": collection_uuid,
        "shard": f"{shard.number}/{shard.count}",
        "modality": modality.value,
        "raw_space": settings.space(modality),
        "aligner": "" if aligner is None else aligner.space,
        "dimension": settings.dimension(modality) if aligner is None else aligner.dimension,
    }


def segment_name(segment: Segment, of: MadeOf) -> str:
    """Return the name of a segment's file: equal for equal rows made of the same."""
    digest = hashlib.sha256(repr(sorted(of.items())).encode() + _row_ids_digest(segment.row_ids))
    return f"{segment.modality.value}-{digest.hexdigest()[:_NAME_HEX_COUNT]}.cache"


def write_segment(path: Path, segment: Segment, *, of: MadeOf, digests: pa.Array) -> int:
    """Write a segment; see `write_container`.

    Args:
        path: Of the file.
        segment: To write.
        of: What it is made of.
        digests: (n,) of its rows in the store.
    """
    revisions = segment.items["revision"].to_numpy()
    meta = {
        "made_of": dict(of),
        "rows": segment.rows,
        "row_ids_sha256": _row_ids_digest(segment.row_ids).hex(),
        "revisions": [int(revisions.min()), int(revisions.max())],
    }
    items = io.BytesIO()
    with ipc.new_stream(items, segment.items.append_column("row_digest", digests).schema) as stream:
        stream.write_table(segment.items.append_column("row_digest", digests))
    blobs = {"items": of_buffers([items.getbuffer()]), "faiss": faiss_blob(segment.index)}
    return write_container(path, kind=_KIND, meta=meta, blobs=blobs)


def read_segment(path: Path, *, of: Mapping[Modality, MadeOf]) -> SavedSegment | None:
    """Read a segment.

    Args:
        path: Of the file.
        of: What one of each modality must be made of.

    Returns:
        The segment; None when it is made of something else.

    Raises:
        DamagedContainerError: it is not what was written.
        OSError: it cannot be read.
    """
    with Container.open(path) as container:
        meta = container.meta
        if container.kind != _KIND or meta["made_of"] not in of.values():
            return None
        with ipc.open_stream(pa.py_buffer(container.read("items"))) as stream:
            rows = stream.read_all().combine_chunks()
        index = read_faiss(container.read("faiss"))
    modality = Modality(meta["made_of"]["modality"])
    if not index.ntotal == meta["rows"] == rows.num_rows or index.d != of[modality]["dimension"]:
        msg = "the structure and the items of the file are not of one segment"
        raise DamagedContainerError(msg)
    segment = Segment(modality, (), rows, index=index)
    return SavedSegment(segment, rows["row_digest"].combine_chunks())


def _row_ids_digest(row_ids: NDArray[np.int64]) -> bytes:
    return hashlib.sha256(row_ids.astype("<i8").tobytes()).digest()
