"""An aligner's artefact as files in a folder: read as `isthmus train aligner` leaves it, written the same way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["MANIFEST_FILE", "TENSORS_FILE", "read_aligner_folder", "write_aligner_folder"]

MANIFEST_FILE: Final = "manifest.json"
"""Name of the manifest in an artefact's folder."""
TENSORS_FILE: Final = "aligner.safetensors"
"""Name of the tensors in an artefact's folder."""


def read_aligner_folder(folder: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """Return (manifest, tensors) of the artefact in `folder`; the mesh checks their digests.

    Raises:
        OSError: one of the two files cannot be read.
    """
    return (Path(folder) / MANIFEST_FILE).read_bytes(), (Path(folder) / TENSORS_FILE).read_bytes()


def write_aligner_folder(folder: str | os.PathLike[str], manifest: bytes, tensors: bytes) -> None:
    """Write an artefact to `folder`, made when absent.

    Raises:
        OSError: it cannot be written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / MANIFEST_FILE).write_bytes(manifest)
    (Path(folder) / TENSORS_FILE).write_bytes(tensors)
