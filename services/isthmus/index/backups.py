"""What a backup of a collection is: its events as Arrow files, and a manifest with their sums.

The files hold every row of the event table at one version, as it lies there, with its digest: items, deletions,
aligners and what is held of the history. So a backup can prove itself by the rules of the table, and be restored to any
revision above which nothing is folded away.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isthmus.index.completeness import check_whole
from isthmus.index.events import EVENT_SCHEMA, Op, verify_rows, verify_thumbnails
from isthmus.index.folds import Fold
from isthmus.index.model import CollectionSettings
from isthmus.index.store import EventView
from isthmus.index.table import ROW_ID
from isthmus.runtime.base.errors import DataLossError

__all__ = [
    "BACKUP_FILES_MAX_COUNT",
    "MANIFEST_FILE",
    "MANIFEST_MAX_BYTES",
    "BackupFile",
    "BackupManifest",
    "backup_damaged",
    "file_digest",
    "read_backup",
    "write_backup",
]

MANIFEST_FILE: Final = "manifest.json"
MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024
BACKUP_FILES_MAX_COUNT: Final = 10_000
"""Files of one backup, of about 64 MiB each."""
_FORMAT: Final = 1
_FILE_BYTES: Final = 64 * 1024 * 1024
_NAME: Final = re.compile(r"events-[0-9]{5}\.arrow")
_CHECK_ROWS: Final = 4_096


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file of a backup.

    Attributes:
        name: Its name.
        size: In bytes.
        rows: Events in it.
        digest: SHA-256 of its bytes, in hexadecimal digits.
    """

    name: str
    size: int
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """What a backup holds."""

    name: str
    """Of the collection."""
    uid: str
    """Of the collection, told apart from another one of this name."""
    revision: int
    """That was copied."""
    oldest_revision: int
    """The oldest that it can be restored to."""
    image_count: int
    text_count: int
    aligner: str
    """The active aligner; empty when there was none."""
    settings: str
    """Of the collection, JSON."""
    files: tuple[BackupFile, ...]

    def to_json(self) -> bytes:
        """Return it as it is kept, with a sum of its own."""
        document = {"format": _FORMAT, **asdict(self)}
        return json.dumps({**document, "digest": _sum(document)}, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> BackupManifest:
        """Read what `to_json` wrote.

        Raises:
            DataLossError: BACKUP_DAMAGED.
        """
        try:
            document: dict[str, Any] = json.loads(data)
            digest, version = document.pop("digest"), document["format"]
            if version != _FORMAT or digest != _sum(document):
                raise backup_damaged(problem="the manifest does not match its sum, or is of a later version")
            del document["format"]
            files = tuple(BackupFile(**file) for file in document.pop("files"))
            manifest = cls(files=files, **document)
            CollectionSettings.from_json(manifest.settings)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise backup_damaged(problem="the manifest cannot be read") from error
        names = [file.name for file in files]
        if len(names) > BACKUP_FILES_MAX_COUNT or len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
            raise backup_damaged(problem="the manifest names other files than a backup has")
        return manifest


def backup_damaged(*, problem: str) -> DataLossError:
    """Return BACKUP_DAMAGED."""
    msg = f"the backup is damaged, nothing was restored: {problem}"
    return DataLossError(msg, reason="BACKUP_DAMAGED")


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_backup(view: EventView, folder: Path, *, name: str, uid: str, settings: CollectionSettings) -> BackupManifest:
    """Copy all events of a view into a folder, each checked against its digest; blocks.

    Args:
        view: What is copied.
        folder: Empty.
        name: Of the collection.
        uid: Of the collection.
        settings: Of the collection.

    Raises:
        DataLossError: STORE_DAMAGED; what is damaged is not copied as if it were whole.
        OSError: the store cannot be read, or the folder not written.
    """
    heads = view.heads()
    newest = view.take(np.array([heads.settings_row]))
    files = [_write_file(folder, number, tables) for number, tables in enumerate(_portions(view))]
    modalities = _live_modalities(view, heads.item_rows)
    return BackupManifest(
        name=name,
        uid=uid,
        revision=heads.revision,
        oldest_revision=1 if heads.fold is None else heads.fold.revision,
        image_count=modalities[1],
        text_count=modalities[2],
        aligner=newest["space"][0].as_py(),
        settings=settings.to_json(),
        files=tuple(files),
    )


def read_backup(folder: Path, manifest: BackupManifest) -> pa.Table:
    """Return all events of a backup but its fold, in no order; blocks. Every sum, digest and revision is checked first.

    Raises:
        DataLossError: BACKUP_DAMAGED.
    """
    try:
        tables = []
        for file in manifest.files:
            table = _read_file(folder / file.name, file)
            for start in range(0, table.num_rows, _CHECK_ROWS):
                _verify(table.slice(start, _CHECK_ROWS))
            tables.append(table)
        rows = pa.concat_tables(tables)
        folds = rows.filter(pc.equal(rows["op"], Op.FOLD.value))
        fold = None
        if folds.num_rows:
            fold = Fold.unpack(folds["payload"][0].as_py(), revision=folds["revision"][0].as_py())
        check_whole(rows.append_column(ROW_ID, pa.array(np.arange(rows.num_rows, dtype=np.uint64))), fold=fold)
        rows = rows.filter(pc.not_equal(rows["op"], Op.FOLD.value))
        if folds.num_rows > 1 or rows["revision"].to_numpy().max(initial=0) != manifest.revision:
            raise backup_damaged(problem="its events do not end at the revision that it names")
    except DataLossError as error:
        if error.reason == "BACKUP_DAMAGED":
            raise
        raise backup_damaged(problem=str(error)) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError, OSError, ValueError) as error:
        raise backup_damaged(problem="its files cannot be read") from error
    return rows


def _sum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _portions(view: EventView) -> Iterator[list[pa.Table]]:
    """Yield the rows of one file after the other, verified."""
    tables: list[pa.Table] = []
    for batch in view.scan(EVENT_SCHEMA.names):
        table = pa.Table.from_batches([batch.select(EVENT_SCHEMA.names)]).cast(EVENT_SCHEMA)
        _verify(table)
        if tables and sum(one.nbytes for one in tables) + table.nbytes > _FILE_BYTES:
            yield tables
            tables = []
        tables.append(table)
    if tables:
        yield tables


def _verify(rows: pa.Table) -> None:
    verify_rows(rows)
    pictured = rows.filter(pc.greater(pc.binary_length(rows["thumbnail"]), 0))
    if pictured.num_rows:
        verify_thumbnails(pictured)


def _write_file(folder: Path, number: int, tables: list[pa.Table]) -> BackupFile:
    file = folder / f"events-{number:05d}.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, EVENT_SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)
    return BackupFile(file.name, file.stat().st_size, sum(table.num_rows for table in tables), file_digest(file))


def _read_file(file: Path, told: BackupFile) -> pa.Table:
    if file.stat().st_size != told.size or file_digest(file) != told.digest:
        raise backup_damaged(problem=f"{told.name} does not match its sum")
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    if table.schema != EVENT_SCHEMA or table.num_rows != told.rows:
        raise backup_damaged(problem=f"{told.name} does not hold the rows that it should")
    return table


def _live_modalities(view: EventView, item_rows: Any) -> dict[int, int]:
    counts = {1: 0, 2: 0}
    for batch in view.scan(("modality",), op=Op.UPSERT):
        live = np.isin(batch.column(ROW_ID).to_numpy().astype(np.int64), item_rows)
        codes = batch.column("modality").to_numpy()[live]
        for code in counts:
            counts[code] += int((codes == code).sum())
    return counts
