"""What FAISS is given to read from a disk is ours: known kinds, bounded sizes (promise S10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.index.cache.container import Container, DamagedContainerError, of_buffers, write_container
from isthmus.index.cache.faiss_bytes import FAISS_KINDS, faiss_blob, limit_deserialization, read_faiss

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

DIMENSION: Final = 16
VECTORS: Final = np.random.default_rng(0).standard_normal((400, DIMENSION)).astype(np.float32)
KINDS: Final = ("Flat", "SQfp16", "SQ8", "IVF4,Flat", "IVF4,SQ8", "IVF4,PQ4x4", "HNSW8", "HNSW8,SQ8", "HNSW8,SQfp16")


@pytest.fixture(autouse=True)
def _limits() -> None:
    limit_deserialization(vector_bytes=1 << 20)


def _structure(factory: str, metric: int = faiss.METRIC_INNER_PRODUCT) -> Any:
    index = _faiss.index_factory(DIMENSION, factory, metric)
    index.train(VECTORS)
    if "IDMap" in factory:
        index.add_with_ids(VECTORS, np.arange(len(VECTORS)))
    else:
        index.add(VECTORS)
    return index


def _bytes(index: Any) -> NDArray[np.uint8]:
    data: NDArray[np.uint8] = _faiss.serialize_index(index)
    return data


@pytest.mark.parametrize("factory", KINDS)
def test_every_kind_that_is_written_is_read_back_with_equal_answers(factory: str, tmp_path: Path) -> None:
    """Scores and rows of 20 queries are equal to the last bit."""
    index = _structure(factory)
    write_container(tmp_path / "file", kind="test", meta={}, blobs={"faiss": faiss_blob(index)})
    with Container.open(tmp_path / "file") as container:
        read = read_faiss(container.read("faiss"))
    for found, expected in zip(read.search(VECTORS[:20], 5), index.search(VECTORS[:20], 5), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_kinds_above_are_all_that_are_allowed() -> None:
    """A kind joins the list together with a structure that shows that it comes back."""
    read = [read_faiss(_bytes(_structure(factory))) for factory in KINDS]
    assert {type(index).__name__ for index in read} == set(FAISS_KINDS.values())


@pytest.mark.parametrize(
    ("factory", "metric"),
    [
        ("Flat", faiss.METRIC_L2),  # another metric has another class
        ("SQ8", faiss.METRIC_L2),
        ("PCA8,Flat", faiss.METRIC_INNER_PRODUCT),
        ("IDMap,Flat", faiss.METRIC_INNER_PRODUCT),
        ("LSH", faiss.METRIC_L2),
        ("IVF4_HNSW8,SQ8", faiss.METRIC_INNER_PRODUCT),  # within a kind that is allowed
    ],
)
def test_other_kinds_are_refused(factory: str, metric: int) -> None:
    """FAISS reads each of these; none of them is a structure that this index makes."""
    data = _bytes(_structure(factory, metric))
    assert _faiss.deserialize_index(data).ntotal == len(VECTORS)
    with pytest.raises(DamagedContainerError, match=r"kind|first bytes"):
        read_faiss(data)


def test_a_kind_that_would_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    """A new structure that is not on the list is told when it is written, not at the next restart."""
    with pytest.raises(TypeError, match="IndexPreTransform is not read back"):
        faiss_blob(_structure("PCA8,Flat"))


def test_a_structure_does_not_point_into_what_it_was_read_from() -> None:
    """The bytes may go, or change, once a structure was read; FAISS's quickest reader would go on pointing at them."""
    index = _structure("Flat")
    data = _bytes(index)
    read = read_faiss(data)
    data[:] = 0
    np.testing.assert_array_equal(read.search(VECTORS[:5], 3)[0], index.search(VECTORS[:5], 3)[0])


def test_sizes_beyond_the_limits_are_refused() -> None:
    """25,600 bytes of vectors are read under a limit of that and refused under one of half; FAISS's own is 1 TB."""
    data = _bytes(_structure("Flat"))
    limit_deserialization(vector_bytes=2 * VECTORS.nbytes)
    assert read_faiss(data).ntotal == len(VECTORS)
    limit_deserialization(vector_bytes=VECTORS.nbytes // 2)
    with pytest.raises(DamagedContainerError, match="cannot read"):
        read_faiss(data)
    assert _faiss.get_deserialization_loop_limit() == 10_000_000
    assert _faiss.get_deserialization_vector_byte_limit() == VECTORS.nbytes // 2


def test_a_header_that_asks_for_much_memory_is_refused() -> None:
    """A flat structure of 25 KB whose length says 2^40 floats: an error, not an allocation of 4 TB."""
    data = _bytes(_structure("Flat"))
    assert data[37:45].view(np.uint64) == VECTORS.size
    data[37:45] = np.frombuffer(np.uint64(2**40).tobytes(), dtype=np.uint8)
    with pytest.raises(DamagedContainerError, match="cannot read"):
        read_faiss(data)


def test_a_disk_that_is_full_is_an_error_of_the_disk() -> None:
    """FAISS turns whatever its writer raises into a RuntimeError; the OSError comes out all the same."""

    def full(_data: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        faiss_blob(_structure("Flat"))(full)


def test_nothing_reaches_faiss_before_its_sum_was_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a structure with one flipped bit, FAISS reads nothing, though it would have loaded it."""
    whole = _bytes(_structure("Flat"))
    write_container(tmp_path / "file", kind="test", meta={}, blobs={"faiss": of_buffers([whole])})
    data = bytearray((tmp_path / "file").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "file").write_bytes(data)
    asked: list[object] = []
    monkeypatch.setattr(_faiss, "read_index", asked.append)
    with Container.open(tmp_path / "file") as container, pytest.raises(DamagedContainerError, match="not what was"):
        read_faiss(container.read("faiss"))
    assert not asked
