"""Sources of a bulk job: the same items in blocks of any size, called what `isthmus index` calls them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.bulk.blocks import Block, Columns, Found, RawItem, Refusal, SourceError
from isthmus.bulk.files import read_parts
from isthmus.bulk.plan import plan_blocks
from isthmus.bulk.tables import TableReader
from isthmus.bulk.workers import BlockTask
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.opening import open_sources
from isthmus.client import Item
from isthmus.runtime.base.limits import IMAGE_MAX_BYTES
from tests.harness.pictures import jpeg

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _read(blocks: list[Block], reader: TableReader | None = None) -> list[Found]:
    reader = reader or TableReader()
    return [
        found for block in blocks for found in (reader.read(block) if block.kind == "parquet" else read_parts(block))
    ]


def _items(found: list[Found]) -> list[tuple[str, str, object]]:
    return [(one.id, one.pair_key, one.content) for one in found if isinstance(one, RawItem)]


def _indexed(*sources: Path) -> list[tuple[str, str, object]]:
    """Return what `isthmus index` would send."""
    opened = open_sources(sources, captions=Captions.load(None), thumbnailer=lambda _: b"", spaces={})
    records = [record for source in opened for record in source.records()]
    return [(r.id, r.pair_key, r.image if r.image is not None else r.text) for r in records if isinstance(r, Item)]


def _table(path: Path, rows: int = 23, **columns: list[object]) -> Path:
    """Write rows with every oddity: equal names, absolute paths, no name, no captions, no image."""
    names = [f"p{n % 20}.jpg" if n % 5 else (None if n % 2 else f"/data/x/{n}.jpg") for n in range(rows)]
    images = [None if n == 7 else {"bytes": jpeg(n), "path": name} for n, name in enumerate(names)]
    texts = [[f"caption {n}.{k}" for k in range(n % 4)] for n in range(rows)]
    made = {"image": pa.array(images, _IMAGE), "captions": pa.array(texts, pa.list_(pa.string())), **columns}
    pq.write_table(pa.table(made), path, row_group_size=5)
    return path


@pytest.mark.parametrize("rows", [1, 4, 5, 100])
def test_a_table_in_blocks_is_the_table_that_index_reads(rows: int, tmp_path: Path) -> None:
    """Ids, pair keys and contents, in blocks of any size, read in order or each by itself."""
    file = _table(tmp_path / "photos.parquet")
    blocks = plan_blocks([str(file)], rows=rows, columns=Columns())
    found = _read(blocks)
    expected = [entry for entry in _indexed(file) if not entry[0].startswith("photos/p7.jpg")]
    # A row without an image loses it alone here: its captions are items of their own.
    assert [entry for entry in _items(found) if not entry[0].startswith("photos/row-7")] == expected
    assert [(one.row, one.reason) for one in found if isinstance(one, Refusal)] == [(7, "EMPTY_INPUT")]
    apart = [entry for block in reversed(blocks) for entry in _items(_read([block]))]
    assert sorted(map(str, apart)) == sorted(map(str, _items(found)))


def test_other_columns_are_named(tmp_path: Path) -> None:
    """Images, texts, ids and pair keys from columns of other names; one that is not there is refused by its name."""
    table = pa.table({"picture": [jpeg(1), jpeg(2)], "title": ["one", "two"], "sku": ["a", "b"], "thing": ["t", None]})
    pq.write_table(table, tmp_path / "goods.parquet")
    columns = Columns(image="picture", texts="title", id="sku", pair="thing")
    found = _read(plan_blocks([str(tmp_path / "goods.parquet")], rows=8, columns=columns))
    assert [entry[:2] for entry in _items(found)] == [
        ("goods/a", "t"),
        ("goods/a#0", "t"),
        ("goods/b", "goods/b"),
        ("goods/b#0", "goods/b"),
    ]
    with pytest.raises(SourceError, match="no column headline"):
        plan_blocks([str(tmp_path / "goods.parquet")], rows=8, columns=Columns(texts="headline"))
    with pytest.raises(SourceError, match="neither images in image nor texts"):
        plan_blocks([str(tmp_path / "goods.parquet")], rows=8, columns=Columns())


def test_folders_and_globs_of_images(tmp_path: Path) -> None:
    """A folder is what `isthmus index` makes of it; a glob is named after the folder it begins in."""
    for name in ("a.jpg", "deep/b.JPG", "deep/er/c.png", ".hidden/d.jpg", "deep/notes.md"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(name.encode())
    folder = tmp_path / "photos"
    for rows in (1, 2, 10):
        assert _items(_read(plan_blocks([str(folder)], rows=rows, columns=Columns()))) == _indexed(folder)
    for pattern, names in (("*.jpg", ["a.jpg"]), ("**/*.[jp]*", ["a.jpg", "deep/er/c.png"])):
        found = _read(plan_blocks([f"file://{folder}/{pattern}"], rows=2, columns=Columns()))
        assert [entry[0] for entry in _items(found)] == [f"photos/{name}" for name in names]


def _shard(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_samples_of_webdataset_shards(tmp_path: Path) -> None:
    """Members of one name are one sample: image, text, captions in JSON; a bad part harms no other."""
    members = {
        "x/1.jpg": jpeg(1),
        "x/1.txt": b"first\n",
        "x/2.json": json.dumps({"captions": ["second", "third"], "width": 4}).encode(),
        "x/2.jpg": jpeg(2),
        "x/2.cls": b"7",
        "3.txt": b"a text alone",
        "4.jpg": jpeg(4),
        "4.txt": b"\xff\xfe",
        "5.jpg": bytes(IMAGE_MAX_BYTES + 1),
        "5.txt": b"its image is too large",
    }
    shard = _shard(tmp_path / "shard-000.tar", **members)
    for rows in (1, 3, 100):
        found = _read(plan_blocks([str(tmp_path / "shard-*.tar")], rows=rows, columns=Columns()))
        assert _items(found) == [
            ("shard-000/x/1", "shard-000/x/1", jpeg(1)),
            ("shard-000/x/1#0", "shard-000/x/1", "first"),
            ("shard-000/x/2", "shard-000/x/2", jpeg(2)),
            ("shard-000/x/2#0", "shard-000/x/2", "second"),
            ("shard-000/x/2#1", "shard-000/x/2", "third"),
            ("shard-000/3", "shard-000/3", "a text alone"),
            ("shard-000/4", "shard-000/4", jpeg(4)),
            ("shard-000/5#0", "shard-000/5", "its image is too large"),
        ]
        refused = [(one.row, one.id, one.reason) for one in found if isinstance(one, Refusal)]
        assert refused == [(3, "shard-000/4", "INVALID_FIELD"), (4, "shard-000/5", "IMAGE_TOO_LARGE")]
    whole = shard.read_bytes()
    at = whole.index(b"x/2.json")
    for damaged in (whole[:at] + b"no tar" * 1000, whole[:at], whole[: at + 100], b"", b"\x1f\x8b"):
        shard.write_bytes(damaged)
        with pytest.raises(SourceError, match="whole, uncompressed tar"):
            plan_blocks([str(shard)], rows=3, columns=Columns())


def test_a_block_keeps_its_key_until_its_content_changes(tmp_path: Path) -> None:
    """Keys are those of the same plan made again, in a worker too; a changed file, other rows or spaces give others."""
    file = _table(tmp_path / "photos.parquet")
    blocks = plan_blocks([str(file)], rows=10, columns=Columns())
    keys = [block.key("space") for block in blocks]
    assert len(set(keys)) == len(blocks) == 3
    assert [block.key("space") for block in plan_blocks([str(file)], rows=10, columns=Columns())] == keys
    assert [BlockTask.from_json(BlockTask(block, "k").to_json()).block.key("space") for block in blocks] == keys
    others = [block.key("other") for block in blocks]
    others += [block.key("space") for block in plan_blocks([str(file)], rows=9, columns=Columns())]
    _table(file, 24)
    others += [block.key("space") for block in plan_blocks([str(file)], rows=10, columns=Columns())]
    assert not set(keys) & set(others)


def test_sources_whose_items_would_share_ids_are_refused(tmp_path: Path) -> None:
    """Two files of one name give their rows the same ids; what is not there, or holds nothing, is refused too."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _table(tmp_path / name / "part.parquet", 3)
    with pytest.raises(SourceError, match="the same ids"):
        plan_blocks([str(tmp_path / "*" / "part.parquet")], rows=4, columns=Columns())
    with pytest.raises(SourceError, match="no such file"):
        plan_blocks([str(tmp_path / "c")], rows=4, columns=Columns())
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="names no image"):
        plan_blocks([str(tmp_path / "empty")], rows=4, columns=Columns())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        plan_blocks([str(tmp_path / "bad.parquet")], rows=4, columns=Columns())
