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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import faiss
import pytest

from isthmus.index.cache import container
from isthmus.index.cache.container import Container
from isthmus.index.cache.faiss_bytes import limit_deserialization
from tests.unit.index.cache.saved import Saved, answers, brute_force, contents, fill

_faiss: Any = faiss  # its type stubs know the C++ signatures, not what its Python wrappers add

_ROOT: Final = Path(__file__).resolve().parents[2]
_SEED = int(os.environ.get("ISTHMUS_TEST_SEED", "0")) or time.time_ns() % 1_000_000
_LONG = os.environ.get("ISTHMUS_TEST_LONG") == "1"
_COUNT: Final = 300
_WHOLE_EVERY: Final = 1 if _LONG else 30
"""Of so many damaged files one is used to start a searcher; all of them are given to what reads them."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A collection with one cache file of 1,500 vectors."""
    root = tmp_path_factory.mktemp("whole")
    fill(root / "store")
    saved = Saved.at(root / "store", root / "cache")
    saved.save()
    assert len(saved.files) == 1
    return saved


def _damaged(data: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    for _ in range(_COUNT):
        changed = bytearray(data)
        for place in chance.sample(range(len(data)), chance.randint(1, 3)):
            changed[place] ^= 1 << chance.randrange(8)
        yield "flip", bytes(changed)
    for _ in range(_COUNT):
        yield "cut", data[: chance.randrange(len(data))]


@pytest.mark.timeout(300)
def test_damaged_cache_files_are_refused_and_built_anew(saved: Saved, tmp_path: Path) -> None:
    """300 flips of 1 to 3 bits and 300 cuts: 600 of 600 refused; starts with them answer as brute force does.

    One start in 30 is made whole, every one in the long version. ISTHMUS_TEST_SEED repeats a run.
    """
    chance = random.Random(_SEED)
    reference = saved.load().snapshot()
    expected = contents(reference)
    view, aligner = reference.view, reference.aligner
    heads = view.heads()
    name, data = saved.files[0].name, saved.files[0].read_bytes()
    folder = tmp_path / "cache"
    damaged = Saved(saved.paths, saved.entry, folder)
    outcomes: collections.Counter[str] = collections.Counter()
    for number, (kind, changed) in enumerate(_damaged(data, chance)):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(changed)
        if number % _WHOLE_EVERY:
            refused = damaged.cache.recall(view, heads, aligner) is None
        else:
            snapshot = damaged.load(cache=damaged.cache).snapshot()
            refused = contents(snapshot) == expected
            assert answers(snapshot) == brute_force(snapshot, expected)
        assert refused
        outcomes[f"{kind} refused"] += not damaged.files  # what was refused is removed
    print(f"seed {_SEED}: {dict(outcomes)}")
    assert outcomes == {"flip refused": _COUNT, "cut refused": _COUNT}  # 600 of 600
    (folder / name).write_bytes(data)
    assert damaged.cache.recall(view, heads, aligner) is not None  # the whole file is believed


def test_faiss_alone_loads_most_of_the_damaged_structures(saved: Saved) -> None:
    """Why there are checksums: given the structure's bytes of 300 flipped files, FAISS loads nearly all of them."""
    chance = random.Random(_SEED)
    limit_deserialization(vector_bytes=1 << 24)
    with Container.open(saved.files[0]) as file:
        structure = file.read("faiss")
    loaded = 0
    for _ in range(_COUNT):
        changed = structure.copy()
        for place in chance.sample(range(len(changed)), chance.randint(1, 3)):
            changed[place] ^= 1 << chance.randrange(8)
        try:
            loaded += _faiss.deserialize_index(changed).ntotal > 0
        except RuntimeError:
            continue
    print(f"seed {_SEED}: FAISS alone loads {loaded} of {_COUNT}")
    assert loaded > 0.9 * _COUNT  # 300 of 300 at this size, where hardly a flip meets the 45 bytes of the header


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
