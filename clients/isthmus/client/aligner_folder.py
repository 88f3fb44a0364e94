"""Read an aligner's artefact from its folder, as `isthmus train aligner` leaves it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["MANIFEST_FILE", "TENSORS_FILE", "read_aligner_folder"]

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
