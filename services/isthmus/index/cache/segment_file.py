"""One segment in one file: its structure, its items, and what both were made of."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from collections.abc import Iterator, Mapping
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
from isthmus.index.cache.structure_file import read_structure, structure_blobs, structure_meta
from isthmus.index.model import CollectionSettings
from isthmus.index.segments import Segment
from isthmus.index.structure_state import StructureReport
from isthmus.runtime.base.shards import Shard

__all__ = ["MadeOf", "SavedSegment", "made_of", "read_segment", "segment_name", "write_segment"]

MadeOf: TypeAlias = Mapping[str, str | int]
"""All that decides what a structure is made of the rows of a store: where it differs, the file is of no use."""

_KIND: Final = "segment"
_SOFTWARE: Final = f"isthmus {importlib.metadata.version('isthmus')}, faiss {faiss.__version__}"
"""Another version may align or build otherwise: a new one builds from the store, once."""
_NAME_HEX_COUNT: Final = 24
_PIECE_ROWS: Final = 8_192
_COMPONENT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class SavedSegment:
    """A segment that was read from a file.

    Attributes:
        segment: As it was, with its structure.
        digests: (n,) of its rows in the store, by which each was verified before it was written.
        report: What was told of its structure; None where it has none.
    """

    segment: Segment
    digests: pa.Array
    report: StructureReport | None = None

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
    """Return the name of a segment's file: equal for equal rows that are made of the same and searched alike."""
    arranged = segment.arranged
    searched = "" if arranged is None else f"{arranged.structure.kind} {arranged.effort}"
    digest = hashlib.sha256(f"{sorted(of.items())} {segment.row_ids_digest.hex()} {searched}".encode())
    return f"{segment.modality.value}-{digest.hexdigest()[:_NAME_HEX_COUNT]}.cache"


def write_segment(
    path: Path,
    segment: Segment,
    *,
    of: MadeOf,
    digests: pa.Array,
    rows: NDArray[np.int64] | None = None,
    report: StructureReport | None = None,
) -> int:
    """Write a segment; see `write_container`.

    Args:
        path: Of the file.
        segment: To write.
        of: What it is made of.
        digests: (n,) of the rows in the store, of those that are written.
        rows: Rows to write; None writes all, and the structure, whose rows cannot be told apart, with them.
        report: What is told of the structure.
    """
    items = segment.items if rows is None else segment.items.take(pa.array(rows))
    arranged = segment.arranged if rows is None and report is not None else None
    revisions = items["revision"].to_numpy()
    meta = {
        "made_of": dict(of),
        "rows": items.num_rows,
        "revisions": [int(revisions.min()), int(revisions.max())],
        "structure": None if arranged is None or report is None else structure_meta(arranged, report),
    }
    table = items.append_column("row_digest", digests)
    packed = io.BytesIO()
    with ipc.new_stream(packed, table.schema) as stream:
        stream.write_table(table)
    blobs = {
        "items": of_buffers([packed.getbuffer()]),
        "vectors": of_buffers(_pieces(segment.vectors, rows)),
        **({} if arranged is None else structure_blobs(arranged.structure)),
    }
    return write_container(path, kind=_KIND, meta=meta, blobs=blobs)


def read_segment(path: Path, *, of: Mapping[Modality, MadeOf]) -> SavedSegment | None:
    """Read a segment.

    Args:
        path: Of the file.
        of: What one of each modality must be made of.

    Returns:
        The segment; None when it is made of something else. The vectors beside a structure stay in the file.

    Raises:
        DamagedContainerError: it is not what was written.
        OSError: it cannot be read.
    """
    with Container.open(path) as container:
        meta = container.meta
        if container.kind != _KIND or meta["made_of"] not in of.values():
            return None
        with ipc.open_stream(pa.py_buffer(container.read("items"))) as stream:
            items = stream.read_all().combine_chunks()
        modality = Modality(meta["made_of"]["modality"])
        rows, dimension = items.num_rows, int(of[modality]["dimension"])
        if meta["rows"] != rows or container.lengths["vectors"] != rows * dimension * _COMPONENT_BYTES:
            msg = "the vectors and the items of the file are not of one segment"
            raise DamagedContainerError(msg)
        told = meta["structure"]
        found = None if told is None else read_structure(container, told, rows=rows, dimension=dimension)
        data = container.read("vectors") if found is None else container.map("vectors")
    vectors = data.view("<f4").reshape(rows, dimension)
    segment = Segment(modality, (), items, held=vectors, is_mapped=found is not None)
    if found is not None:
        segment = segment.arranged_as(found[0])
    return SavedSegment(segment, items["row_digest"].combine_chunks(), None if found is None else found[1])


def _pieces(vectors: NDArray[np.float32], rows: NDArray[np.int64] | None) -> Iterator[NDArray[np.float32]]:
    """Yield vectors, or some of them, a part at a time."""
    for start in range(0, len(vectors) if rows is None else len(rows), _PIECE_ROWS):
        chosen = slice(start, start + _PIECE_ROWS)
        piece = vectors[chosen] if rows is None else vectors[rows[chosen]]
        yield np.ascontiguousarray(piece, dtype="<f4")
