"""Files of rows from the import folder: applied once, held to their digest, and taken from nowhere else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from isthmus.core.modality import Modality
from isthmus.index.importing import ImportFile
from isthmus.index.model import NewItem
from isthmus.runtime.base import import_rows
from isthmus.runtime.base.errors import IsthmusError
from isthmus.runtime.base.import_rows import ImportRow, ImportRows, pack_rows, unpack_rows
from isthmus.runtime.base.limits import IMPORT_FILE_MAX_BYTES, IMPORT_FILE_MAX_ROWS, IMPORT_FILES_MAX_COUNT
from tests.unit.index.support import (
    SPACE,
    TENANT,
    create,
    request_id,
    running_searcher,
    running_writer,
    upsert,
    vectors,
)

NOTHING = bytes(32)


def _rows(count: int, *, seed: int = 0, space: str = SPACE) -> ImportRows:
    embeddings = vectors(seed, count)
    return ImportRows(
        spaces={Modality.IMAGE: space, Modality.TEXT: space},
        rows=[
            ImportRow(
                id=f"item-{number}",
                modality=Modality.TEXT if number % 2 else Modality.IMAGE,
                embedding=embeddings[number].astype("<f2").tobytes(),
                attributes={"text": f"n\u00ba {number}", "n": 2**62 + number, "x": 0.5, "yes": True},
                pair_key=f"pair-{number // 2}",
                content_digest=hashlib.sha256(bytes([seed, number % 256])).digest(),
                content_words=number % 2,
            )
            for number in range(count)
        ],
    )


def _lay(root: Path, data: bytes, *, name: str = "block-0", folder: str = "job", tenant: str = TENANT) -> ImportFile:
    where = root / "import" / tenant / folder
    where.mkdir(parents=True, exist_ok=True)
    (where / f"{name}.arrow").write_bytes(data)
    return ImportFile(name, hashlib.sha256(data).digest())


async def test_an_imported_item_is_what_an_upsert_makes_of_it(tmp_path: Path) -> None:
    """Ids, vectors bit for bit, attributes with their types, pair keys, digests; an upsert of the same is unchanged."""
    content = _rows(6)
    file = _lay(tmp_path, pack_rows(content))
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        done = await writer.import_files(TENANT, "things", folder="job", files=[file], request_id="once")
        assert (done.refused, done.stored[0].created_count, done.stored[0].failures) == ({}, 6, ())
        same = await upsert(
            writer,
            [
                NewItem(
                    id=row.id,
                    modality=row.modality,
                    attributes=row.attributes,
                    pair_key=row.pair_key,
                    content_digest=row.content_digest,
                    content_words=row.content_words,
                )
                for row in content.rows
            ],
            vectors(0, 6),
        )
        assert (same.unchanged_count, same.revision) == (6, done.stored[0].revision)
        async with running_searcher(tmp_path / "store") as searcher:
            _, items = await searcher.get_items(
                TENANT, "things", ids=[row.id for row in content.rows], include_embeddings=True
            )
        assert [item.attributes for item in items] == [row.attributes for row in content.rows]
        np.testing.assert_array_equal([item.embedding for item in items], vectors(0, 6))


async def test_a_file_is_applied_once_under_one_request_id(tmp_path: Path) -> None:
    """The same request again, alone or in other company, is answered alike; what was deleted stays deleted."""
    one, two = _lay(tmp_path, pack_rows(_rows(4))), _lay(tmp_path, pack_rows(_rows(8, seed=1)), name="block-1")
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        first = await writer.import_files(TENANT, "things", folder="job", files=[one], request_id="job-1")
        await writer.delete(TENANT, "things", ids=["item-0"], request_id=request_id())
        again = await writer.import_files(TENANT, "things", folder="job", files=[one, two], request_id="job-1")
        assert again.stored[0] == first.stored[0]
        assert (again.stored[1].created_count, again.stored[1].updated_count) == (5, 3)
        await writer.delete(TENANT, "things", ids=["item-7"], request_id=request_id())
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        later = await writer.import_files(TENANT, "things", folder="job", files=[one, two], request_id="job-1")
        assert (later.stored, later.refused) == (again.stored, {})
        info = await writer.get_collection(TENANT, "things")
        assert info.image_count + info.text_count == 7
        # Another mutation of the same file is one of its own.
        anew = await writer.import_files(TENANT, "things", folder="job", files=[two], request_id="job-2")
        assert (anew.stored[0].created_count, anew.stored[0].unchanged_count) == (1, 7)


async def test_bad_files_and_bad_rows_harm_no_other(tmp_path: Path) -> None:
    """Damaged, missing, of another space, no Arrow at all: each refused with its reason; a bad row by its number."""
    whole = pack_rows(_rows(4))
    good = _lay(tmp_path, whole)
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    damaged = ImportFile(_lay(tmp_path, bytes(flipped), name="damaged").name, good.digest)
    foreign = _lay(tmp_path, pack_rows(_rows(4, space="other@0123456789abcdef")), name="foreign")
    nonsense = _lay(tmp_path, b"ARROW1 and then nothing", name="nonsense")
    rows = list(_rows(4, seed=1).rows)
    rows[1] = ImportRow(id="short", modality=Modality.TEXT, embedding=b"12", attributes={})
    rows[2] = ImportRow(id="", modality=Modality.IMAGE, embedding=rows[2].embedding, attributes={})
    partly = _lay(tmp_path, pack_rows(ImportRows(spaces=_rows(1).spaces, rows=rows)), name="partly")
    files = [damaged, ImportFile("absent", NOTHING), foreign, nonsense, partly, good]
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        done = await writer.import_files(TENANT, "things", folder="job", files=files, request_id=request_id())
    assert {index: error.reason for index, error in done.refused.items()} == {
        0: "IMPORT_FILE_DAMAGED",
        1: "IMPORT_FILE_NOT_FOUND",
        2: "SPACE_MISMATCH",
        3: "IMPORT_FILE_DAMAGED",
    }
    failed = [(failure.index, failure.error.reason) for failure in done.stored[4].failures]
    assert failed == [(1, "INVALID_VECTOR"), (2, "INVALID_ITEM_ID")]
    assert (done.stored[4].created_count, done.stored[5].created_count) == (2, 2)


async def test_nothing_is_read_outside_the_tenants_part_of_the_import_folder(tmp_path: Path) -> None:
    """Names that climb, links that lead out, and another tenant's files are refused: there is no such file."""
    secret = _lay(tmp_path, pack_rows(_rows(2)), tenant="rival")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "block-0.arrow").write_bytes(pack_rows(_rows(2)))
    mine = tmp_path / "import" / TENANT
    (mine / "job").mkdir(parents=True)
    (mine / "linked").symlink_to(tmp_path / "outside")
    (mine / "job" / "link.arrow").symlink_to(tmp_path / "outside" / "block-0.arrow")
    (mine / "job" / "folder.arrow").mkdir()
    os.mkfifo(mine / "job" / "pipe.arrow")
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        places = [("job", "block-0"), ("linked", "block-0"), ("job", "link"), ("job", "folder"), ("job", "pipe")]
        for folder, name in places:
            file = ImportFile(name, secret.digest)
            done = await writer.import_files(TENANT, "things", folder=folder, files=[file], request_id=request_id())
            assert done.refused[0].reason == "IMPORT_FILE_NOT_FOUND", (folder, name)
        for folder, name in (
            ("..", "a"),
            ("job", "../a"),
            ("job", "a/b"),
            ("/etc", "a"),
            ("job", "a.arrow"),
            ("", "a"),
        ):
            with pytest.raises(IsthmusError) as refused:
                await writer.import_files(
                    TENANT, "things", folder=folder, files=[ImportFile(name, NOTHING)], request_id=request_id()
                )
            assert refused.value.reason == "INVALID_NAME"
    async with running_writer(tmp_path / "store") as writer:
        done = await writer.import_files(TENANT, "things", folder="job", files=[secret], request_id=request_id())
        assert done.refused[0].reason == "IMPORT_DISABLED"


async def test_limits_of_an_import_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 rows and 16 files are taken; one more of either, or a file above 64 MiB, is refused with the limit."""
    full = _lay(tmp_path, pack_rows(_rows(IMPORT_FILE_MAX_ROWS)))
    with monkeypatch.context() as patch:
        patch.setattr(import_rows, "IMPORT_FILE_MAX_ROWS", IMPORT_FILE_MAX_ROWS + 1)
        over = _lay(tmp_path, pack_rows(_rows(IMPORT_FILE_MAX_ROWS + 1)), name="over")
    with pytest.raises(ValueError, match="4096 at most"):
        pack_rows(_rows(IMPORT_FILE_MAX_ROWS + 1))
    small = _lay(tmp_path, pack_rows(_rows(1)), name="small")
    large = tmp_path / "import" / TENANT / "job" / "large.arrow"
    with large.open("wb") as file:
        file.truncate(IMPORT_FILE_MAX_BYTES + 1)
    async with running_writer(tmp_path / "store", import_dir=tmp_path / "import") as writer:
        await create(writer)
        files = [full, over, ImportFile("large", NOTHING)]
        done = await writer.import_files(TENANT, "things", folder="job", files=files, request_id=request_id())
        assert done.stored[0].created_count == IMPORT_FILE_MAX_ROWS
        assert [error.metadata["limit"] for error in done.refused.values()] == [
            str(IMPORT_FILE_MAX_ROWS),
            str(IMPORT_FILE_MAX_BYTES),
        ]
        many = [small] * IMPORT_FILES_MAX_COUNT
        done = await writer.import_files(TENANT, "things", folder="job", files=many, request_id=request_id())
        assert len(done.stored) == IMPORT_FILES_MAX_COUNT
        with pytest.raises(IsthmusError) as refused:
            await writer.import_files(TENANT, "things", folder="job", files=[*many, small], request_id=request_id())
        assert (refused.value.reason, refused.value.metadata["limit"]) == ("BATCH_TOO_LARGE", "16")


def test_what_is_no_file_of_rows_is_damaged() -> None:
    """Another schema, another version, attributes that are no scalars, a cut file: one reason."""
    whole = pack_rows(_rows(3))
    schema = pa.ipc.open_file(pa.py_buffer(whole)).schema

    def arrow(table: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    table = pa.ipc.open_file(pa.py_buffer(whole)).read_all()
    at = schema.get_field_index("attributes")
    bad = [
        whole[:-1],
        whole[: len(whole) // 2],
        b"",
        arrow(table.drop_columns(["pair_key"])),
        arrow(table.replace_schema_metadata({b"isthmus.rows": b"2"})),
        arrow(table.set_column(at, schema.field("attributes"), [['{"a": [1]}'] * 3])),
        arrow(table.set_column(at, schema.field("attributes"), [["null"] * 3])),
        arrow(table.set_column(at, schema.field("attributes"), [["{"] * 3])),
        arrow(table.set_column(1, schema.field("modality"), [["sound"] * 3])),
    ]
    for number, data in enumerate(bad):
        with pytest.raises(IsthmusError) as refused:
            unpack_rows(data, digest=hashlib.sha256(data).digest())
        assert refused.value.reason == "IMPORT_FILE_DAMAGED", number
    assert unpack_rows(whole, digest=hashlib.sha256(whole).digest()) == _rows(3)
