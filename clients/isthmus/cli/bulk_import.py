"""How staged blocks reach the writer: through the gateway, again and again while the mesh is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from isthmus.cli.failures import CommandError
from isthmus.client import (
    Client,
    DeadlineExceededError,
    ImportedFile,
    ImportFile,
    ResourceExhaustedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from isthmus.bulk.blocks import Refusal
    from isthmus.bulk.staging import BlockRecord, Staging

__all__ = ["GatewayImporter"]

T = TypeVar("T")

_TRIES_COUNT: Final = 40
_PAUSE_S: Final = 0.25
_PAUSE_MAX_S: Final = 5.0
_TIMEOUT_S: Final = 120.0
_REFUSALS_KEPT_COUNT: Final = 100


class GatewayImporter:
    """Imports staged blocks.

    Args:
        client: To the mesh.
        collection: Where they go.
        staging: Where they lie.
    """

    def __init__(self, client: Client, collection: str, staging: Staging) -> None:
        self._client = client
        self._collection = collection
        self._staging = staging

    def lost(self, records: Sequence[BlockRecord]) -> set[str]:
        """Return the keys of those blocks, done once, that the collection does not hold any more.

        A collection that is at a lower revision than a block is another one of the same name; else two items of the
        block must be there, by a searcher that knows all that the writer does.
        """
        if not records:
            return set()
        revision = _patient(lambda: self._client.get_collection(self._collection)).revision
        younger = [record for record in records if record.revision <= revision]
        probes = list(dict.fromkeys(name for record in younger for name in record.probe))
        there: set[str] = set()
        if probes:
            found = _patient(lambda: self._client.get_items(self._collection, probes, min_revision=revision))
            there = {item.id for item in found.items}
        kept = {record.key for record in younger if there.issuperset(record.probe)}
        return {record.key for record in records} - kept

    def store(self, record: BlockRecord, request_id: str) -> BlockRecord:
        """Import a block's files; return its record with what became of them.

        Raises:
            CommandError: the writer does not find them, or finds them damaged.
            IsthmusError: the mesh refuses, or stays away.
        """
        if not record.files:
            return record
        files = [ImportFile(file.name, bytes.fromhex(file.digest)) for file in record.files]
        result = _patient(
            lambda: self._client.import_files(
                self._collection, self._staging.job, files, request_id=request_id, timeout_s=_TIMEOUT_S
            )
        )
        if result.errors:
            raise _refused(result.errors[0].reason, result.errors[0].message)
        refusals = [refusal for file in result.files if file.errors for refusal in self._refusals(record, file)]
        return replace(
            record,
            created=sum(file.created for file in result.files),
            updated=sum(file.updated for file in result.files),
            unchanged=sum(file.unchanged for file in result.files),
            revision=max(file.revision for file in result.files),
            refused=record.refused + len(refusals),
            refusals=[*record.refusals, *refusals][:_REFUSALS_KEPT_COUNT],
        )

    def _refusals(self, record: BlockRecord, stored: ImportedFile) -> list[Refusal]:
        from isthmus.bulk.blocks import Refusal

        (file,) = [file for file in record.files if file.name == stored.name]
        ids = self._staging.ids(file)
        return [
            Refusal(source=file.name, row=error.index, id=ids[error.index], reason=error.reason, message=error.message)
            for error in stored.errors
        ]


def _patient(call: Callable[[], T]) -> T:
    """Make a call that may be made again, until the mesh answers.

    Raises:
        IsthmusError: it refuses, or stays away for minutes.
    """
    pause_s = _PAUSE_S
    for _ in range(_TRIES_COUNT):
        try:
            return call()
        except (UnavailableError, DeadlineExceededError):
            pass
        except ResourceExhaustedError as error:
            if error.retry_after_s is None:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)
    return call()


def _refused(reason: str, message: str) -> CommandError:
    hint = ""
    if reason in {"IMPORT_FILE_NOT_FOUND", "IMPORT_DISABLED"}:
        hint = (
            "--staging must be the folder that the writer imports from (`isthmus up`: `import` in its --data-dir; else "
            "ISTHMUS_INDEX_IMPORT_DIR), and --tenant the tenant of the API key"
        )
    return CommandError(f"the writer refused a file of rows: {message}", reason=reason, hint=hint)
