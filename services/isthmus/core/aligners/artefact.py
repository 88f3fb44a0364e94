"""The artefact: an aligner as two files that prove they belong together.

    manifest.json         what it is, where it came from, how well it does; the digest of the tensors; its own revision
    aligner.safetensors   the tensors, numbers only

Verification shows damage, not authorship: whoever may write the folder may write another artefact.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_load
from safetensors.numpy import save as safetensors_save

from isthmus.core.aligners.manifest import MANIFEST_MAX_BYTES, Manifest, SealedManifest, digest
from isthmus.core.calibration import Calibration
from isthmus.core.errors import ArtefactError

__all__ = [
    "MANIFEST_NAME",
    "TENSORS_HEADER_MAX_BYTES",
    "TENSORS_MAX_BYTES",
    "TENSORS_NAME",
    "Artefact",
    "Tensor",
    "Tensors",
]

MANIFEST_NAME: Final = "manifest.json"
TENSORS_NAME: Final = "aligner.safetensors"
TENSORS_HEADER_MAX_BYTES: Final = 1 << 20
"""Bytes of the JSON header inside the tensors' file."""
TENSORS_MAX_BYTES: Final = 12 << 20
"""Bytes of the tensors' file."""

_HEADER_LENGTH_BYTES: Final = 8
_TENSOR_DTYPES: Final = frozenset({np.dtype(np.float16), np.dtype(np.float32)})

Tensor: TypeAlias = NDArray[np.floating[Any]]
Tensors: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A manifest with its tensors; verified, ready to be applied or stored. Equal when its two files are.

    Make one with `Artefact.create`, or read one with `from_bytes` or `load`.
    """

    manifest: Manifest = field(compare=False)
    tensors: Tensors = field(compare=False)
    """By name; float16 or float32, finite, read-only."""
    revision: str
    """First 16 hex digits of the digest over manifest and tensors."""
    manifest_bytes: bytes = field(repr=False)
    """The file `manifest.json`."""
    tensor_bytes: bytes = field(repr=False)
    """The file `aligner.safetensors`."""

    @classmethod
    def create(cls, manifest: Manifest, tensors: Tensors) -> Artefact:
        """Seal a manifest and its tensors into an artefact.

        Raises:
            ArtefactError: A field is malformed, a tensor is of another type or not finite, or a limit is passed.
        """
        tensor_bytes = safetensors_save({name: np.ascontiguousarray(value) for name, value in tensors.items()})
        _, manifest_bytes = SealedManifest.seal(manifest, tensors_sha256=digest(tensor_bytes))
        return cls.from_bytes(manifest_bytes, tensor_bytes)

    @property
    def space(self) -> str:
        """The aligned space, `aligner_id@revision`."""
        return f"{self.manifest.aligner_id}@{self.revision}"

    def to_bytes(self) -> tuple[bytes, bytes]:
        """Return the two files: manifest and tensors."""
        return self.manifest_bytes, self.tensor_bytes

    @classmethod
    def from_bytes(cls, manifest: bytes, tensors: bytes) -> Artefact:
        """Read and verify the two files.

        Raises:
            ArtefactError: Either file is damaged, malformed or over its limit, or they do not belong together.
        """
        sealed = SealedManifest.parse(manifest)
        if len(tensors) > TENSORS_MAX_BYTES:
            msg = f"tensors: {len(tensors)} bytes, at most {TENSORS_MAX_BYTES}"
            raise ArtefactError(msg)
        if sealed.tensors_sha256 != digest(tensors):
            msg = "tensors: do not match the digest in the manifest; copy the artefact again, or fit it anew"
            raise ArtefactError(msg)
        return cls(
            manifest=sealed.manifest,
            tensors=_parse_tensors(tensors),
            revision=sealed.revision,
            manifest_bytes=bytes(manifest),
            tensor_bytes=bytes(tensors),
        )

    def with_findings(self, *, calibration: Calibration | None, report: Mapping[str, Any]) -> Artefact:
        """Return this artefact with what held-out pairs said of it; its revision changes with them.

        Raises:
            ArtefactError: The report is not plain, finite JSON.
        """
        return Artefact.create(replace(self.manifest, calibration=calibration, report=report), self.tensors)

    def save(self, folder: Path) -> None:
        """Write the two files into `folder`, which appears whole or not at all.

        A folder that already holds this revision is left as it is.

        Raises:
            FileExistsError: The folder is there and holds anything else; nothing of it is touched.
            OSError: The folder cannot be written.
        """
        if _holds(folder, self.revision):
            return
        if folder.exists():
            msg = "artefact: the folder is there and does not hold this artefact"
            raise FileExistsError(msg)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write_durably(fresh / MANIFEST_NAME, self.manifest_bytes)
            _write_durably(fresh / TENSORS_NAME, self.tensor_bytes)
            _sync_folder(fresh)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _sync_folder(folder.parent)

    @classmethod
    def load(cls, folder: Path, *, expected_revision: str | None = None) -> Artefact:
        """Read and verify the artefact in `folder`.

        Args:
            folder: Holds `manifest.json` and `aligner.safetensors`.
            expected_revision: Refuse any other revision.

        Raises:
            ArtefactError: A file is missing, damaged or over its limit, or the revision is another one.
        """
        artefact = cls.from_bytes(
            _read_bounded(folder / MANIFEST_NAME, MANIFEST_MAX_BYTES),
            _read_bounded(folder / TENSORS_NAME, TENSORS_MAX_BYTES),
        )
        if expected_revision is not None and artefact.revision != expected_revision:
            msg = "artefact: its revision is not the expected one"
            raise ArtefactError(msg)
        return artefact


def _parse_tensors(data: bytes) -> dict[str, Tensor]:
    header = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    if len(data) < _HEADER_LENGTH_BYTES or header > TENSORS_HEADER_MAX_BYTES:
        msg = f"tensors: header must be whole and at most {TENSORS_HEADER_MAX_BYTES} bytes"
        raise ArtefactError(msg)
    try:
        tensors: dict[str, Tensor] = safetensors_load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        msg = "tensors: not a safetensors file"
        raise ArtefactError(msg) from error
    for value in tensors.values():
        if value.dtype not in _TENSOR_DTYPES or not np.isfinite(value).all():
            msg = "tensors: must be finite float16 or float32"
            raise ArtefactError(msg)
        value.flags.writeable = False
    return tensors


def _read_bounded(path: Path, limit: int) -> bytes:
    """Read a file; one over `limit` is refused without holding more than `limit` bytes of it."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        msg = f"artefact: {path.name} cannot be read"
        raise ArtefactError(msg) from error
    if len(data) > limit:
        msg = f"artefact: {path.name} is over {limit} bytes"
        raise ArtefactError(msg)
    return data


def _holds(folder: Path, revision: str) -> bool:
    try:
        Artefact.load(folder, expected_revision=revision)
    except ArtefactError:
        return False
    return True


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
