"""The structure of a segment as blobs of its file: what FAISS holds, and the lists that it is searched by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from isthmus.index.cache.container import Blob, Container, DamagedContainerError, of_buffers
from isthmus.index.cache.faiss_bytes import faiss_blob, read_faiss
from isthmus.index.structure_state import StructureReport, StructureState
from isthmus.index.structures import Arranged, Coarse, Effort, Structure
from isthmus.index.structures.flat_codes import FlatCodes
from isthmus.index.structures.hnsw import Hnsw
from isthmus.index.structures.inverted import Inverted
from isthmus.runtime.base.structure_kinds import Kind

__all__ = ["read_structure", "structure_blobs", "structure_meta"]

_FAISS: Final = "faiss"
_CENTROIDS: Final = "centroids"
_ROUTES: Final = "routes"


def structure_meta(arranged: Arranged, report: StructureReport) -> dict[str, Any]:
    """Return what the file says of a structure beside its blobs."""
    return {"kind": arranged.structure.kind.value, "effort": asdict(arranged.effort), "report": asdict(report)}


def structure_blobs(structure: Structure) -> dict[str, Blob]:
    """Return the blobs of a structure; none for one that is made of the vectors in no time."""
    if not isinstance(structure, FlatCodes | Hnsw | Inverted):
        return {}
    blobs = {_FAISS: faiss_blob(structure.index)}
    if isinstance(structure, Inverted):
        coarse = structure.coarse
        blobs[_CENTROIDS] = of_buffers([np.ascontiguousarray(coarse.centroids, dtype="<f4")])
        blobs[_ROUTES] = of_buffers([np.ascontiguousarray(coarse.routes, dtype="<f4")])
    return blobs


def read_structure(
    container: Container, meta: Mapping[str, Any], *, rows: int, dimension: int
) -> tuple[Arranged, StructureReport] | None:
    """Return a segment's structure and what was told of it; None for one that is made of the vectors in no time.

    Args:
        container: The file.
        meta: What `structure_meta` returned.
        rows: Of the segment.
        dimension: Of its vectors.

    Raises:
        DamagedContainerError: it is not what was written, or not of this segment.
        OSError: the file cannot be read.
    """
    if _FAISS not in container.lengths:
        return None
    kind = Kind(meta["kind"])
    index = read_faiss(container.read(_FAISS))
    structure: Structure
    if kind is Kind.HNSW:
        structure = Hnsw(index)
    elif kind.has_lists:
        centroids, routes = (container.read(name).view("<f4").reshape(-1, dimension) for name in (_CENTROIDS, _ROUTES))
        if not len(centroids) == len(routes) == index.nlist:
            msg = "the lists of the structure are not as many as its centroids"
            raise DamagedContainerError(msg)
        structure = Inverted(kind, Coarse(centroids, routes), index)
    else:
        structure = FlatCodes(kind, index)
    if structure.rows != rows:
        msg = "the structure and the items of the file are not of one segment"
        raise DamagedContainerError(msg)
    told = meta["report"]
    report = StructureReport(**told | {"state": StructureState(told["state"]), "kind": Kind(told["kind"])})
    return Arranged(structure, Effort(**meta["effort"])), report
