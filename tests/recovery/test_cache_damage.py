"""A damaged cache file is refused and everything is built from the store; a crash while one is written leaves no trace.

Promises D4 and D6.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import pytest

from isthmus.core.modality import Modality
from isthmus.index.cache import container
from isthmus.index.cache.container import Container
from isthmus.index.cache.faiss_bytes import limit_deserialization
from isthmus.runtime.base.structure_kinds import Kind
from tests.unit.index.cache.saved import Saved, answers, brute_force, contents, fill
from tests.unit.index.support import DIMENSION

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

_ROOT: Final = Path(__file__).resolve().parents[2]
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_LONG = os.environ.get("ISTHMUS_TEST_LONG") == "1"
_COUNT: Final = 300
_WHOLE_EVERY: Final = 1 if _LONG else 30
"""Of so many damaged files one is used to start a searcher; all of them are given to what reads them."""


_KINDS: Final = (Kind.FLAT_FLOAT32, Kind.IVF_SQ8, Kind.HNSW)
"""Of the structures in the files; the first has none but the vectors themselves."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A collection with one cache file of 1,500 vectors."""
    root = tmp_path_factory.mktemp("whole")
    fill(root / "store")
    saved = Saved.at(root / "store", root / "cache")
    saved.save()
    assert len(saved.files) == 1
    return saved


@pytest.fixture(scope="module")
def files(saved: Saved, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, tuple[str, bytes]]:
    """Name and content of the cache file of the same items, searched by each of three kinds."""
    found = {}
    for kind in _KINDS:
        other = Saved(saved.paths, saved.entry, tmp_path_factory.mktemp(kind.value))
        other.save(kind)
        (file,) = other.files
        found[kind] = (file.name, file.read_bytes())
    return found


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for place in chance.sample(range(len(data)), chance.randint(1, 3)):
        changed[place] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.timeout(300)
def test_damaged_cache_files_are_refused_and_built_anew(
    saved: Saved, files: dict[Kind, tuple[str, bytes]], tmp_path: Path
) -> None:
    """300 flips of 1 to 3 bits and 300 cuts, of three kinds of files: 600 of 600 refused, answers as of brute force.

    One damaged file in 30 is given to a start as a whole, every one in the long version. ISTHMUS_TEST_SEED repeats a
    run.
    """
    chance = random.Random(_SEED)
    reference = saved.load().snapshot()
    expected = contents(reference)
    view, aligner = reference.view, reference.aligner
    heads = view.heads()
    folder = tmp_path / "cache"
    damaged = Saved(saved.paths, saved.entry, folder)
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(2 * _COUNT):
        kind = _KINDS[number % len(_KINDS)]
        name, data = files[kind]
        how = "flip" if number < _COUNT else "cut"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(_flipped(data, chance) if how == "flip" else data[: chance.randrange(len(data))])
        if number % _WHOLE_EVERY:
            refused = damaged.cache.recall(view, heads, aligner) is None
        else:
            snapshot = damaged.load(cache=damaged.cache).snapshot()
            refused = contents(snapshot) == expected
            assert answers(snapshot) == brute_force(snapshot, expected)
        assert refused
        outcomes[f"{how} of {kind}"] += not damaged.files  # what was refused is removed
    print(f"seed {_SEED}: refused {dict(outcomes)}")
    assert sum(outcomes.values()) == 2 * _COUNT  # 600 of 600
    for name, data in files.values():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        assert damaged.cache.recall(view, heads, aligner) is not None  # whole files are believed
        (folder / name).unlink()


def test_faiss_alone_loads_damaged_structures(
    saved: Saved, files: dict[Kind, tuple[str, bytes]], tmp_path: Path
) -> None:
    """Why there are checksums: of 300 structures with 1 to 3 flipped bits each FAISS loads many without a word."""
    chance = random.Random(_SEED)
    limit_deserialization(vector_bytes=1 << 24)
    flat = _faiss.IndexFlatIP(DIMENSION)
    flat.add(saved.load().snapshot().segments[Modality.IMAGE][0].segment.vectors)
    structures = {Kind.FLAT_FLOAT32: _faiss.serialize_index(flat)}
    for kind in _KINDS[1:]:
        (tmp_path / kind.value).write_bytes(files[kind][1])
        with Container.open(tmp_path / kind.value) as file:
            structures[kind] = file.read("faiss")
    loaded: collections.Counter[str] = collections.Counter()
    for kind, structure in structures.items():
        for _ in range(_COUNT):
            changed = np.frombuffer(_flipped(structure.tobytes(), chance), dtype=np.uint8)
            try:
                loaded[kind.value] += _faiss.deserialize_index(changed).ntotal > 0
            except RuntimeError:
                continue
    print(f"seed {_SEED}: FAISS alone loads {dict(loaded)} of {_COUNT} each")
    assert loaded[Kind.FLAT_FLOAT32] > 0.9 * _COUNT  # 300 of 300, 295 of IVF_SQ8, 34 of HNSW
    assert loaded[Kind.IVF_SQ8] > 0.5 * _COUNT


_FAILPOINTS: Final[dict[str, tuple[Any, str]]] = {
    "half written": (container, "_frame_digest"),
    "written, not synced": (os, "fsync"),
    "synced, not renamed": (Path, "rename"),
    "renamed, not for certain": (container, "_sync_folder"),
}
"""Holder and name of the function that is fatal."""


def main() -> None:
    """Be the process that writes cache files and dies."""
    _, root, name = sys.argv
    saved = Saved.at(Path(root) / "store", Path(root) / "cache")

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(*_FAILPOINTS[name], die)
    saved.save()


@pytest.mark.parametrize("name", _FAILPOINTS)
def test_a_crash_while_a_file_is_written_harms_nothing(saved: Saved, tmp_path: Path, name: str) -> None:
    """The next start finds a whole file or none, answers alike, and removes what the dead process left."""
    shutil.copytree(saved.paths.root, tmp_path / "store")
    script = "import tests.recovery.test_cache_damage as test; test.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), name],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    left = Saved.at(tmp_path / "store", tmp_path / "cache")
    assert len(list(left.folder.iterdir())) == 1
    assert len(left.files) == (name == "renamed, not for certain")
    found = left.load(cache=left.cache).snapshot()
    assert contents(found) == contents(saved.load().snapshot())
    left.save()
    assert list(left.folder.iterdir()) == left.files
    assert left.cache.recall(found.view, found.view.heads(), found.aligner) is not None
