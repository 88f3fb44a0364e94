"""Files of checksummed blobs."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from isthmus.index.cache.container import Blob, Container, DamagedContainerError, of_buffers, write_container

VECTORS = np.arange(60, dtype=np.float32).reshape(5, 12)
META = {"rows": 5, "space": "aligner@1", "ends": [1.5, None]}


def _blobs() -> dict[str, Blob]:
    return {
        "head": of_buffers([b"abc"]),
        "vectors": of_buffers([VECTORS[:2], VECTORS[2:]]),
        "nothing": of_buffers([]),
        "rows": of_buffers([np.zeros((0, 3), dtype=np.float16)]),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of four blobs, two of which are empty."""
    path = tmp_path / "one.cache"
    assert write_container(path, kind="test", meta=META, blobs=_blobs()) == path.stat().st_size
    return path


def _everything(path: Path) -> list[object]:
    """Return all that a reader gets of a file; raises when any of it is damaged."""
    with Container.open(path) as container:
        blobs = [(name, container.read(name).tobytes(), container.map(name).tobytes()) for name in container.lengths]
        return [container.kind, container.meta, *blobs]


def test_what_is_read_is_what_was_written(file: Path) -> None:
    """Kind, meta and blobs come back, in memory or mapped, and only this user may read the file."""
    data = VECTORS.tobytes()
    assert _everything(file) == [
        "test",
        META,
        ("head", b"abc", b"abc"),
        ("vectors", data, data),
        ("nothing", b"", b""),
        ("rows", b"", b""),
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in file.parent.iterdir()] == ["one.cache"]


def test_mapped_vectors_are_aligned_read_only_and_outlive_the_name(file: Path) -> None:
    """What is mapped serves on when the file is closed, replaced and removed."""
    with Container.open(file) as container:
        rows = container.map("vectors").view("<f4").reshape(5, 12)
    write_container(file, kind="other", meta={}, blobs={"vectors": of_buffers([bytes(240)])})
    file.unlink()
    np.testing.assert_array_equal(rows, VECTORS)
    assert not rows.flags.writeable
    assert rows.ctypes.data % 64 == 0


def test_no_flipped_bit_is_read(file: Path, tmp_path: Path) -> None:
    """One bit of each byte in turn, blobs, gaps, index and frame: none of 800 such files is read to its end."""
    whole = file.read_bytes()
    damaged = tmp_path / "damaged"
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        damaged.write_bytes(data)
        with pytest.raises(DamagedContainerError):
            _everything(damaged)


def test_no_cut_or_grown_file_is_read(file: Path, tmp_path: Path) -> None:
    """Every length from none to one byte less, and bytes added at the end or between blobs and index."""
    whole = file.read_bytes()
    index = whole.index(b'{"kind"')
    damaged = tmp_path / "damaged"
    for data in [
        *(whole[:length] for length in range(len(whole))),
        whole + b"\0",
        whole[:index] + b"\0" + whole[index:],
    ]:
        damaged.write_bytes(data)
        with pytest.raises(DamagedContainerError):
            _everything(damaged)


def test_a_blob_that_is_not_there_is_damage(file: Path) -> None:
    """Who asks for what another version wrote is told as of any other file that is not what it should be."""
    with Container.open(file) as container, pytest.raises(DamagedContainerError, match="no blob codes"):
        container.read("codes")


def test_a_failed_write_leaves_the_file_before_it(file: Path) -> None:
    """A blob that fails half way leaves what was there under the name, and nothing beside it."""
    before = _everything(file)

    def failing() -> Iterator[bytes]:
        yield bytes(10_000)
        raise OSError(5, "disk")

    with pytest.raises(OSError, match="disk"):
        write_container(file, kind="test", meta={}, blobs={"a": of_buffers(failing())})
    assert _everything(file) == before
    assert [entry.name for entry in file.parent.iterdir()] == ["one.cache"]


def test_a_file_that_the_system_lets_grow_no_further_is_not_left_behind(tmp_path: Path) -> None:
    """A write past the limit of a file's size fails as on a full disk: an OSError, and an empty folder."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            write_container(tmp_path / "big", kind="test", meta={}, blobs={"a": of_buffers([bytes(200_000)])})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
