"""npz files of vectors that another encoder made."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from isthmus.bulk.ids import source_name, stable_id
from isthmus.cli.sources.captions import Captions
from isthmus.cli.sources.record import GivenSpace, Record, Source, SourceError, captioned
from isthmus.client import Item, Modality, SpacedVector

__all__ = ["open_npz"]

_MODALITIES: Final[tuple[Modality, ...]] = ("image", "text")
_NAME_ARRAYS: Final = ("id", "ids", "filename", "file_name", "file", "name")


def open_npz(path: Path, captions: Captions, spaces: Mapping[Modality, str]) -> Source:
    """Open an npz file with arrays `image` and `text` of shape (n, d), at least one of them.

    Rows are named by `image_name` and `text_name`, else by `id`, `filename`, `file` or `name`, else by their number.
    Images and texts of the same name are pairs; without names, row i of one and row i of the other are, if both have
    as many. `text_words` holds the words of each text. Ids are the file's name without suffix and the row's name,
    texts numbered from `#0`.

    Args:
        path: The file.
        captions: Texts for the images, encoded by the mesh.
        spaces: Raw space of each modality's vectors, where the file's own `image_space` and `text_space` are not
            meant or not there.

    Raises:
        SourceError: it cannot be read, an array has another shape, or a space is not known.
    """
    arrays = _load(path)
    given: dict[Modality, GivenSpace] = {}
    for modality in _MODALITIES:
        if modality in arrays:
            rows = arrays[modality]
            if rows.ndim != 2 or rows.dtype.kind != "f":  # noqa: PLR2004 - rows and components
                msg = f"{path}: {modality} must be (n, d) floats; it is {rows.dtype} of shape {rows.shape}"
                raise SourceError(msg)
            given[modality] = GivenSpace(_space(path, arrays, modality, spaces), rows.shape[1])
    if not given:
        msg = f"{path} has neither an array image nor an array text; it has {', '.join(arrays)}"
        raise SourceError(msg)
    names = {modality: _names(path, arrays, modality) for modality in given}
    words = _words(path, arrays) if "text" in given else []
    stem = PurePosixPath(source_name(path)).stem
    captioned_count = sum(len(captions.of(name)) for name in names.get("image", []))

    def records() -> Iterator[Record]:
        for modality, space in given.items():
            vectors = (SpacedVector(row, modality=modality, space=space.space) for row in arrays[modality])
            if modality == "image":
                yield from _image_records(stem, names[modality], vectors, captions)
            else:
                yield from _text_records(stem, names[modality], vectors, words)

    return Source(
        path=path,
        records=records,
        total=sum(map(len, names.values())) + captioned_count,
        contents=frozenset({"text"}) if captioned_count else frozenset(),
        spaces=given,
    )


def _image_records(
    stem: str, names: Sequence[str], vectors: Iterable[SpacedVector], captions: Captions
) -> Iterator[Record]:
    for name, vector in zip(names, vectors, strict=True):
        yield from captioned(stable_id(stem, name), vector, captions.of(name))


def _text_records(
    stem: str, names: Sequence[str], vectors: Iterable[SpacedVector], words: Sequence[int]
) -> Iterator[Record]:
    """Yield texts numbered within their name, which is also what they are paired by."""
    numbers: Counter[str] = Counter()
    for name, vector, count in zip(names, vectors, words, strict=True):
        base = stable_id(stem, name)
        yield Item(id=f"{base}#{numbers[name]}", vector=vector, pair_key=base, content_words=count)
        numbers[name] += 1


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        msg = f"{path} cannot be read as npz without pickled objects"
        raise SourceError(msg) from error


def _space(path: Path, arrays: Mapping[str, NDArray[Any]], modality: Modality, spaces: Mapping[Modality, str]) -> str:
    own = arrays.get(f"{modality}_space")
    space = spaces.get(modality) or (str(own) if own is not None and own.ndim == 0 else "")
    if not space:
        msg = (
            f"{path} holds {modality} vectors and does not say in which space: name it with --{modality}-space, "
            "for example my-encoder@0123456789abcdef"
        )
        raise SourceError(msg)
    return space


def _words(path: Path, arrays: Mapping[str, NDArray[Any]]) -> list[int]:
    """Return the words of each text, 0 where the file does not say.

    Raises:
        SourceError: They are not one whole number of at least 0 for each text.
    """
    found = arrays.get("text_words")
    if found is None:
        return [0] * len(arrays["text"])
    if found.shape != (len(arrays["text"]),) or found.dtype.kind not in "iu" or (found < 0).any():
        msg = f"{path}: text_words must have a whole number of at least 0 for each of {len(arrays['text'])} texts"
        raise SourceError(msg)
    return [int(count) for count in found]


def _names(path: Path, arrays: Mapping[str, NDArray[Any]], modality: Modality) -> list[str]:
    """Return what the rows of a modality are called; rows of the same name belong together."""
    count = len(arrays[modality])
    own = arrays.get(f"{modality}_name")
    shared = next((arrays[name] for name in _NAME_ARRAYS if name in arrays and len(arrays[name]) == count), None)
    found = own if own is not None else shared
    if found is None:
        other = arrays.get("text" if modality == "image" else "image")
        # Numbers name both modalities only where they count the same rows.
        mark = "" if other is None or len(other) == count else f"{modality}-"
        return [f"{mark}{number}" for number in range(count)]
    if found.shape != (count,):
        msg = f"{path}: {modality}_name must have a name for each of {count} rows; it has shape {found.shape}"
        raise SourceError(msg)
    return [str(name) for name in found]
