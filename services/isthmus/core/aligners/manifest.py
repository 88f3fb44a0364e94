"""The manifest of an artefact: its fields, its bytes, and the revision that it proves.

The revision is the first 16 hex digits of the SHA-256 over the manifest in canonical JSON (sorted keys, no spaces,
UTF-8) without the field `revision` itself. The manifest holds the SHA-256 of the tensors, so the revision covers every
byte that matters, and damage is found with nothing but the two files at hand.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NoReturn

from isthmus.core.calibration import Calibration
from isthmus.core.errors import ArtefactError

__all__ = ["MANIFEST_MAX_BYTES", "Manifest", "SealedManifest", "digest"]

MANIFEST_MAX_BYTES: Final = 1 << 20
"""Bytes of a manifest."""

_FORMAT_VERSION: Final = 1
_REVISION_HEX_DIGITS: Final = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SPACE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,126}@[0-9a-f]{8,64}")
_PATTERNS: Final = {"aligner_id": _NAME, "method": _NAME, "image_space": _SPACE, "text_space": _SPACE}
_LEAST: Final = {"dimension": 1, "pair_count": 0, "seed": 0}
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "aligner_id": str,
    "method": str,
    "image_space": str,
    "text_space": str,
    "dimension": int,
    "created_by": str,
    "pair_count": int,
    "seed": int,
    "settings": dict,
    "report": dict,
    "calibration": (dict, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about an aligner that is not a tensor."""

    aligner_id: str
    """Name, `[a-z0-9][a-z0-9_-]{0,62}`."""
    method: str
    """Which class applies it: a name in `isthmus.core.aligners.METHODS`."""
    image_space: str
    """Raw space of the images it accepts, `encoder_id@revision`."""
    text_space: str
    """Raw space of the texts it accepts, `encoder_id@revision`."""
    dimension: int
    """Length of an aligned vector."""
    created_by: str
    """What made it, for people."""
    pair_count: int
    """Pairs it was fitted on; 0 when it learns nothing."""
    seed: int
    """Seed of everything random in the fit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was fitted. Plain JSON values."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Figures on pairs it was not fitted on, with the keys of every `--json` answer; empty when there are none."""
    calibration: Calibration | None = None
    """Fitted score calibration, if it has one."""


@dataclass(frozen=True, kw_only=True)
class SealedManifest:
    """A manifest that is bound to its tensors by a revision."""

    manifest: Manifest
    tensors_sha256: str
    """Hex digest of the tensors' file."""
    revision: str
    """First 16 hex digits of the digest of all of the above."""

    @classmethod
    def seal(cls, manifest: Manifest, *, tensors_sha256: str) -> tuple[SealedManifest, bytes]:
        """Bind a manifest to its tensors.

        Returns:
            The sealed manifest, as a reader of the bytes will see it, and the bytes of `manifest.json`.

        Raises:
            ArtefactError: A field is malformed or is not plain, finite JSON.
        """
        document: dict[str, Any] = {entry.name: getattr(manifest, entry.name) for entry in fields(manifest)}
        document["settings"] = dict(manifest.settings)
        document["report"] = dict(manifest.report)
        document["calibration"] = None if manifest.calibration is None else manifest.calibration.to_dict()
        document |= {"format_version": _FORMAT_VERSION, "tensors_sha256": tensors_sha256}
        # Through JSON once, so that what is digested is what a reader will parse (tuples become lists).
        document = json.loads(_canonical_json(document))
        document["revision"] = _revision(document)
        data = (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
        return cls.parse(data), data

    @classmethod
    def parse(cls, data: bytes) -> SealedManifest:
        """Read and verify the bytes of `manifest.json`.

        Raises:
            ArtefactError: They are damaged, malformed, of another format, or over the limit.
        """
        document = _parse_json(data)
        claimed = document.pop("revision", None)
        revision = _revision(document)
        if claimed != revision:
            msg = "manifest: does not match its own revision; copy the artefact again, or fit it anew"
            raise ArtefactError(msg)
        if document.pop("format_version", None) != _FORMAT_VERSION:
            msg = f"manifest: format_version must be {_FORMAT_VERSION}"
            raise ArtefactError(msg)
        tensors_sha256 = document.pop("tensors_sha256", None)
        if not isinstance(tensors_sha256, str):
            msg = "manifest: tensors_sha256 is of the wrong type"
            raise ArtefactError(msg)
        return cls(manifest=_checked(document), tensors_sha256=tensors_sha256, revision=revision)


def digest(data: bytes) -> str:
    """Return the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def _canonical_json(document: Mapping[str, Any]) -> bytes:
    """Encode plain JSON values so that equal documents give equal bytes."""
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        msg = "manifest: holds something that is not plain, finite JSON"
        raise ArtefactError(msg) from error


def _revision(document: Mapping[str, Any]) -> str:
    return digest(_canonical_json(document))[:_REVISION_HEX_DIGITS]


def _refuse_constant(_name: str) -> NoReturn:
    msg = "manifest: holds a number that is not finite"
    raise ArtefactError(msg)


def _parse_json(data: bytes) -> dict[str, Any]:
    if len(data) > MANIFEST_MAX_BYTES:
        msg = f"manifest: {len(data)} bytes, at most {MANIFEST_MAX_BYTES}"
        raise ArtefactError(msg)
    try:
        document = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        msg = "manifest: is not JSON in UTF-8"
        raise ArtefactError(msg) from error
    if not isinstance(document, dict):
        msg = "manifest: is not a JSON object"
        raise ArtefactError(msg)
    return document


def _checked(document: dict[str, Any]) -> Manifest:
    """Check every field: the digest shows that nothing changed, not that it was right to begin with."""
    if document.keys() != _TYPES.keys():
        msg = f"manifest: has {len(document)} fields, not the {len(_TYPES)} that belong there"
        raise ArtefactError(msg)
    for name, kinds in _TYPES.items():
        if not isinstance(document[name], kinds) or isinstance(document[name], bool):
            msg = f"manifest: {name} is of the wrong type"
            raise ArtefactError(msg)
    for name, pattern in _PATTERNS.items():
        if not pattern.fullmatch(document[name]):
            msg = f"manifest: {name} is malformed"
            raise ArtefactError(msg)
    for name, least in _LEAST.items():
        if document[name] < least:
            msg = f"manifest: {name} must be at least {least}"
            raise ArtefactError(msg)
    calibration = document["calibration"]
    if calibration is not None:
        try:
            document["calibration"] = Calibration.from_dict(calibration)
        except ValueError as error:
            msg = "manifest: calibration is malformed"
            raise ArtefactError(msg) from error
    return Manifest(**document)
