"""npz files of paired embeddings, for commands that need no running mesh."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from isthmus.cli.failures import CommandError, missing_extra
from isthmus.cli.local import unreadable

__all__ = ["EMBEDDINGS", "EmbeddingsFile", "PairedEmbeddings", "numerics", "read_pairs"]

EMBEDDINGS: Final[Any] = typer.Option(
    "--embeddings",
    metavar="PAIRS.npz",
    help="Arrays image and text, row i pairs with row i; optional: pair_key, or image_pair_key and text_pair_key, "
    "image_id and text_id, label a row of image, label_name with label_vector, text_words; of an attribute NAME "
    "image_NAME, text_NAME or NAME (a row of image).",
)
EmbeddingsFile = Annotated[Path, EMBEDDINGS]

_REASONS: Final = {
    "ArtefactError": "INVALID_ALIGNER",
    "DegreesError": "DEGREES",
    "InvalidVectorError": "INVALID_VECTOR",
    "LeakError": "LEAK",
    "NotEnoughItemsError": "NOT_ENOUGH_PAIRS",
    "OptionError": "INVALID_OPTION",
    "ShapeError": "INVALID_DATA",
    "SpacesMismatchError": "SPACE_MISMATCH",
}
_RANK: Final = 2


@dataclass(frozen=True, slots=True)
class PairedEmbeddings:
    """What such a file holds.

    Attributes:
        images: (n, d) floats.
        texts: (m, e) floats.
        image_keys: n pair keys.
        text_keys: m pair keys.
        labels: One label an image; None when the file has none.
        label_vectors: The vector of each label's text, by label; empty when the file has none.
        repeated: Rows of `image` left out because the same image stands there with the same key.
        ids: For each modality one id a row; `image-0`, `text-0` and so on when the file has none.
        path: The file.
    """

    images: NDArray[Any]
    texts: NDArray[Any]
    image_keys: Sequence[str]
    text_keys: Sequence[str]
    labels: Sequence[str] | None
    label_vectors: Mapping[str, NDArray[Any]]
    repeated: int
    ids: Mapping[str, Sequence[str]]
    path: Path
    _others: Mapping[str, NDArray[Any]]
    _kept: Sequence[int]

    def values(self, attribute: str) -> dict[str, list[Any]]:
        """Return for each modality one value of an attribute a row; None where only the other modality has it.

        They stand in `image_NAME` and `text_NAME`, or in `NAME` with one a row of `image`.

        Raises:
            CommandError: The file has none of these arrays, or one has another length.
        """
        found: dict[str, list[Any]] = {}
        counts = {"image": len(self._kept) + self.repeated, "text": len(self.texts)}
        for modality, count in counts.items():
            names = (f"{modality}_{attribute}", attribute) if modality == "image" else (f"text_{attribute}",)
            name = next((name for name in names if name in self._others), None)
            if name is None:
                continue
            array = self._others[name]
            if array.shape != (count,):
                msg = f"{self.path}: {name} must have one for each of {count} rows of {modality}; it has {array.shape}"
                raise CommandError(msg, reason="INVALID_DATA")
            found[modality] = [value.item() for value in array]
        if not found:
            msg = f"{self.path} has no array image_{attribute}, text_{attribute} or {attribute}"
            raise CommandError(msg, reason="INVALID_DATA", hint=f"it has {', '.join(sorted(self._others))}")
        images = found.get("image", [None] * counts["image"])
        return {
            "image": [images[row] for row in self._kept],
            "text": found.get("text", [None] * counts["text"]),
        }


def read_pairs(path: Path) -> PairedEmbeddings:
    """Read the file; an image that is repeated for each of its captions is kept once.

    Raises:
        CommandError: it cannot be read, or an array is missing or has another shape.
    """
    arrays = _load(path)
    for name in ("image", "text"):
        if name not in arrays:
            msg = f"{path} has no array {name}; it has {', '.join(arrays) or 'none'}"
            raise CommandError(msg, reason="INVALID_DATA", hint="a gap needs vectors of both modalities")
        if arrays[name].ndim != _RANK or arrays[name].dtype.kind != "f":
            found = arrays[name]
            msg = f"{path}: {name} must be (n, d) floats; it is {found.dtype} of shape {found.shape}"
            raise CommandError(msg, reason="INVALID_DATA")
    images, texts = arrays["image"], arrays["text"]
    image_keys = _keys(path, arrays, "image")
    text_keys = _keys(path, arrays, "text")
    labels = arrays.get("label")
    if labels is not None and labels.shape != (len(images),):
        msg = f"{path}: label must have one for each of {len(images)} images; it has shape {labels.shape}"
        raise CommandError(msg, reason="INVALID_DATA")
    kept = _first_of_each(images, image_keys)
    return PairedEmbeddings(
        images=images[kept],
        texts=texts,
        image_keys=[image_keys[row] for row in kept],
        text_keys=text_keys,
        labels=None if labels is None else [str(labels[row]) for row in kept],
        label_vectors=_label_vectors(path, arrays),
        repeated=len(images) - len(kept),
        ids=_ids(path, arrays, kept),
        path=path,
        _others={name: array for name, array in arrays.items() if name not in ("image", "text")},
        _kept=kept,
    )


@contextlib.contextmanager
def numerics(what: str) -> Iterator[None]:
    """Turn what the numerics refuse, or that they are not installed, into a failure of the command.

    Args:
        what: The command, for people.

    Raises:
        CommandError: something was refused or is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise missing_extra(error, extra="serve", what=what) from error
    except ValueError as error:
        reason = _REASONS.get(type(error).__name__)
        if reason is None:
            raise
        raise CommandError(str(error), reason=reason) from error


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        msg = f"{path} cannot be read as npz without pickled objects"
        raise CommandError(msg, reason="INVALID_DATA") from error


def _keys(path: Path, arrays: dict[str, NDArray[Any]], modality: str) -> list[str]:
    """Return the pair keys of a modality's rows: its own, else the shared ones, else the rows' numbers."""
    count = len(arrays[modality])
    name = f"{modality}_pair_key" if f"{modality}_pair_key" in arrays else "pair_key"
    found = arrays.get(name)
    if found is None:
        if len(arrays["image"]) != len(arrays["text"]):
            msg = f"{path}: {len(arrays['image'])} images and {len(arrays['text'])} texts cannot pair row by row"
            raise CommandError(msg, reason="INVALID_DATA", hint="add arrays image_pair_key and text_pair_key")
        return [str(row) for row in range(count)]
    if found.shape != (count,):
        msg = f"{path}: {name} must have a key for each of {count} rows of {modality}; it has shape {found.shape}"
        raise CommandError(msg, reason="INVALID_DATA")
    return [str(key) for key in found]


def _ids(path: Path, arrays: dict[str, NDArray[Any]], kept: Sequence[int]) -> dict[str, list[str]]:
    """Return the ids of the rows of each modality: those of `image_id` and `text_id`, else the rows' numbers.

    Raises:
        CommandError: An array has another length, or an id is there twice.
    """
    ids: dict[str, list[str]] = {}
    for modality, rows in (("image", kept), ("text", range(len(arrays["text"])))):
        name, count = f"{modality}_id", len(arrays[modality])
        found = arrays.get(name)
        if found is not None and found.shape != (count,):
            msg = f"{path}: {name} must have one for each of {count} rows of {modality}; it has shape {found.shape}"
            raise CommandError(msg, reason="INVALID_DATA")
        ids[modality] = [f"{modality}-{row}" if found is None else str(found[row]) for row in rows]
    count = len(ids["image"]) + len(ids["text"])
    if len({*ids["image"], *ids["text"]}) != count:
        msg = f"{path}: image_id and text_id hold {count} ids that are not all different"
        raise CommandError(msg, reason="INVALID_DATA")
    return ids


def _label_vectors(path: Path, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    names, vectors = arrays.get("label_name"), arrays.get("label_vector")
    if names is None and vectors is None:
        return {}
    if names is None or vectors is None or vectors.ndim != _RANK or names.shape != (len(vectors),):
        msg = f"{path}: label_name must have one name for each row of label_vector, which must be (c, d) floats"
        raise CommandError(msg, reason="INVALID_DATA")
    return {str(name): vector for name, vector in zip(names, vectors, strict=True)}


def _first_of_each(images: NDArray[Any], keys: Sequence[str]) -> list[int]:
    if not (np.isfinite(images).all() and images.any(axis=1).all()):
        return list(range(len(images)))  # to be refused, under the row's own number
    first: dict[tuple[str, bytes], int] = {}
    for row, key in enumerate(keys):
        first.setdefault((key, images[row].tobytes()), row)
    return list(first.values())
