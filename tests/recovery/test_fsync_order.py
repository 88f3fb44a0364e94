"""What is acknowledged lies on the disk, by the order of system calls that `strace` sees (promise D13)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pytest

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

_ROOT = Path(__file__).resolve().parents[2]

_WRITER = """
import asyncio, os, sys
from pathlib import Path
from isthmus.index.catalog import StorePaths
from tests.unit.index.support import TENANT, center, create, images, running_writer, upsert, vectors

def say(text):
    os.write(1, text.encode())

async def main(root, durability, fan_out, commits, replaced):
    async with running_writer(root, durability=durability, compact_fan_out=fan_out) as writer:
        await create(writer, aligner=center())
        say("ACK create")
        for number in range(commits):
            await upsert(writer, images([f"{number}-{row}" for row in range(4)]), vectors(number, 4))
            say(f"ACK {number}")
        for number in range(2 * (replaced > 0)):
            await upsert(writer, images([f"replaced-{row}" for row in range(replaced)]), vectors(number, replaced))
            say(f"ACK replaced {number}")
        await writer.delete(TENANT, "things", ids=["0-0"], request_id="gone")
        say("ACK delete")

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
"""

_CALLS = "openat,creat,write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir,mkdirat"

# What a reader can do without: sums that are absent leave a file to its row digests; Lance reads transactions only to
# settle a race between commits, and looks at the folder where its hint is torn; a tag spares a version from clean-up.
_EXPENDABLE = re.compile(
    r"/(_sums|_transactions|_refs)(/|$)|/latest_version_hint\.json$|/\.tmp[^/]*$|#\d+$|/[^/]+\.lock$"
)

_DATA_FILE = re.compile(r"[0-9a-f]{50}\.lance")


@dataclass(frozen=True, slots=True)
class _Call:
    """A finished system call.

    Attributes:
        name: Of the call.
        paths: Of its descriptor, or those it names.
        text: All of it.
    """

    name: str
    paths: tuple[str, ...]
    text: str


@dataclass
class _Disk:
    """Which names and contents a power loss could take now.

    Attributes:
        files: Files with contents that were not synced.
        names: Files and folders whose names were not synced: the folder that holds them was not.
    """

    root: str
    files: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def apply(self, call: _Call) -> None:
        """Follow one call."""
        if call.name in {"fsync", "fdatasync"}:
            self.files -= set(call.paths)
            self.names = {path for path in self.names if str(PurePath(path).parent) not in call.paths}
        elif call.name in {"write", "pwrite64", "writev"}:
            self.files |= self._ours(call.paths)
        elif call.name.startswith(("rename", "link")):
            old, new = call.paths
            if old in self.files:
                self.files.add(new)
            if call.name.startswith("rename"):
                self.files.discard(old)
                self.names.discard(old)
            self._named(new)
        elif call.name.startswith("mkdir") or "O_CREAT" in call.text:
            self._named(call.paths[-1])

    def at_risk(self) -> list[str]:
        """Return what a reader needs and could miss."""
        return sorted(path for path in self.files | self.names if self._needed(path))

    def _named(self, path: str) -> None:
        self.names |= self._ours((path,))

    def _ours(self, paths: tuple[str, ...]) -> set[str]:
        return {path for path in paths if path.startswith(self.root)}

    @staticmethod
    def _needed(path: str) -> bool:
        return _EXPENDABLE.search(path) is None


def _trace(store: Path, *, durability: str, fan_out: int, commits: int, replaced: int = 0) -> list[_Call]:
    """Run a writer under `strace` and return its calls in the order in which they ended."""
    log = store.with_suffix(".strace")
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "65536",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(log),
        sys.executable,
        "-c",
        _WRITER,
    ]
    arguments = [str(store), durability, str(fan_out), str(commits), str(replaced)]
    done = subprocess.run([*command, *arguments], cwd=_ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(_calls(log.read_text(errors="replace").splitlines()))


def _calls(lines: list[str]) -> Iterator[_Call]:
    begun: dict[str, str] = {}
    for line in lines:
        pid, _, rest = line.partition(" ")
        text = rest.lstrip()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>")
            # An acknowledgement counts from where it begins.
            if '"ACK' not in text:
                continue
        elif text.startswith("<..."):
            text = begun.pop(pid, "") + text.partition("resumed>")[2]
            if '"ACK' in text:
                continue
        name, _, arguments = text.partition("(")
        if not name.isidentifier() or re.search(r"= -1 E", text):
            continue
        quoted = tuple(re.findall(r'"([^"]*)"', arguments))
        if name in {"write", "pwrite64", "writev", "fsync", "fdatasync"}:
            found = re.match(r"\d+<([^>]*)>", arguments)
            yield _Call(name, (found[1],) if found else (), text)
        else:
            yield _Call(name, quoted, text)


def _lost_at_acknowledgements(calls: list[_Call], store: Path) -> tuple[int, list[str]]:
    """Return how many acknowledgements there were, and what a power loss right then would have taken."""
    disk, acknowledged, lost = _Disk(str(store)), 0, []
    for call in calls:
        if call.name == "write" and '"ACK' in call.text:
            acknowledged += 1
            lost += disk.at_risk()
        disk.apply(call)
    return acknowledged, lost


def test_an_acknowledgement_waits_until_files_and_folders_are_synced(tmp_path: Path) -> None:
    """At each acknowledgement every file of the commit and every folder that names one is on the disk: 0 at risk."""
    store = tmp_path / "store"
    calls = _trace(store, durability="power", fan_out=1_000, commits=6)
    acknowledged, lost = _lost_at_acknowledgements(calls, store)
    assert acknowledged == 8
    assert lost == []


def test_without_syncing_the_same_check_finds_what_would_be_lost(tmp_path: Path) -> None:
    """With `durability=process` nothing is synced, and the check says so: manifests and data of every commit."""
    store = tmp_path / "store"
    calls = _trace(store, durability="process", fan_out=1_000, commits=2)
    acknowledged, lost = _lost_at_acknowledgements(calls, store)
    assert acknowledged == 4
    assert any(path.endswith(".manifest") for path in lost)
    assert any(path.endswith(".lance") and "/data/" in path for path in lost)


def test_a_manifest_is_named_after_the_data_it_speaks_of_is_on_the_disk(tmp_path: Path) -> None:
    """Of merges and folds too; and once these have ended, nothing is at risk that the newest version speaks of."""
    store = tmp_path / "store"
    calls = _trace(store, durability="power", fan_out=4, commits=9, replaced=300)
    disk, written = _Disk(str(store)), dict[str, str]()
    manifests: dict[PurePath, int] = {}
    checked = 0
    for call in calls:
        disk.apply(call)
        if call.name == "write" and ".manifest#" in "".join(call.paths):
            written[call.paths[0]] = written.get(call.paths[0], "") + call.text
        elif call.name.startswith("link") and call.paths[1].endswith(".manifest"):
            table = PurePath(call.paths[1]).parents[1]
            manifests[table] = manifests.get(table, 0) + 1
            spoken_of = {str(table / "data" / name) for name in _DATA_FILE.findall(written[call.paths[0]])}
            if manifests[table] > 1:
                assert spoken_of.intersection(disk.at_risk()) == set()
                checked += len(spoken_of)
    # The first version, the claim, 11 upserts and the delete make 14; the rest are merges of small files and a fold.
    assert max(manifests.values()) > 14
    assert checked > 14
    assert any("/_deletions/" in path for call in calls for path in call.paths)
    assert disk.at_risk() == []
