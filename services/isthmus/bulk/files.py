"""Blocks of image files, and of webdataset shards: tar files whose members of one name are one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from isthmus.bulk.blocks import Block, Found, Part, RawItem, Refusal, SourceError, captioned, open_store, texts_alone
from isthmus.bulk.ids import stable_id
from isthmus.runtime.base.limits import IMAGE_MAX_BYTES, TEXT_MAX_BYTES

__all__ = ["IMAGE_SUFFIXES", "image_blocks", "read_parts", "tar_blocks"]

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""Suffixes of files that are taken for images."""
_TEXT_SUFFIXES: Final = frozenset({".txt", ".text", ".caption"})
_JSON_TEXTS: Final = ("captions", "caption", "text", "texts")
_JSON_MAX_BYTES: Final = 16 * TEXT_MAX_BYTES


def image_blocks(location: str, files: Sequence[tuple[str, int, str]], *, stem: str, rows: int) -> Iterator[Block]:
    """Cut images below a folder into blocks.

    Args:
        location: The folder.
        files: For each its path below the folder, its bytes and when it changed; in a fixed order.
        stem: The folder's name.
        rows: Images of a block.
    """
    _, root = open_store(location)
    for first in range(0, len(files), rows):
        some = files[first : first + rows]
        yield Block(
            kind="images",
            location=location,
            stem=stem,
            identity=json.dumps([changed for _, _, changed in some]),
            first=first,
            count=len(some),
            parts=[[Part(name=below, where=f"{root.rstrip('/')}/{below}", size=size)] for below, size, _ in some],
        )


def tar_blocks(location: str, *, stem: str, identity: str, rows: int) -> Iterator[Block]:
    """Cut a shard into blocks; only its headers are read.

    Raises:
        SourceError: it is no tar file, is cut short, or is compressed: a shard is read in pieces.
    """
    system, path = open_store(location)
    samples: dict[str, list[Part]] = {}
    try:
        with system.open_input_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                part = _part(member, path) if member.isreg() else None
                if part is not None:
                    samples.setdefault(part.name, []).append(part)
            # A header that makes no sense ends a tar file without a word: only two blocks of zeros are its end.
            if file.read_at(tarfile.BLOCKSIZE, tar.offset) != bytes(tarfile.BLOCKSIZE):
                msg = "the end is missing"
                raise tarfile.ReadError(msg)
    except (OSError, tarfile.TarError) as error:
        msg = f"{location} cannot be read as a whole, uncompressed tar file"
        raise SourceError(msg) from error
    found = list(samples.values())
    for first in range(0, len(found), rows):
        some = found[first : first + rows]
        yield Block(
            kind="tar",
            location=location,
            stem=stem,
            identity=identity,
            first=first,
            count=len(some),
            parts=some,
        )


def read_parts(block: Block) -> Iterator[Found]:
    """Yield the items of a block that is made of files, or of pieces of one."""
    system, _ = open_store(block.location)
    for number, parts in enumerate(block.parts, block.first):
        item_id = stable_id(block.stem, parts[0].name)
        images: list[bytes] = []
        texts: list[str] = []
        refused: list[Refusal] = []
        for part in parts:
            try:
                _take(system, block, part, images, texts)
            except (OSError, ValueError) as error:
                reason = "UNREADABLE_FILE" if isinstance(error, OSError) else _reason(part)
                message = f"{part.kind}: {_told(error)}"
                refused.append(Refusal(source=block.location, row=number, id=item_id, reason=reason, message=message))
        yield from refused
        yield from _items(number, item_id, images, texts, has_image=any(part.kind == "image" for part in parts))


def _items(
    number: int, item_id: str, images: Sequence[bytes], texts: Sequence[str], *, has_image: bool
) -> Iterator[RawItem]:
    if images:
        yield from captioned(number, item_id, images[0], texts, pair_key=item_id)
        for position, image in enumerate(images[1:], 1):
            yield RawItem(row=number, id=f"{item_id}@{position}", content=image, pair_key=item_id)
    elif has_image:  # it could not be read: its texts keep the ids that they have beside it
        yield from list(captioned(number, item_id, b"", texts, pair_key=item_id))[1:]
    else:
        yield from texts_alone(number, item_id, texts, pair_key=item_id)


def _take(system: Any, block: Block, part: Part, images: list[bytes], texts: list[str]) -> None:
    limit = {"image": IMAGE_MAX_BYTES, "text": TEXT_MAX_BYTES, "json": _JSON_MAX_BYTES}[part.kind]
    if part.size > limit:
        msg = f"it has {part.size} bytes; the limit is {limit}"
        raise ValueError(msg)
    with system.open_input_file(part.where) as file:
        data = file.read_at(part.size, part.start) if block.kind == "tar" else file.read()
    if part.kind == "image":
        images.append(data)
    elif part.kind == "text":
        texts.append(data.decode().strip())
    else:
        texts.extend(_json_texts(data))


def _json_texts(data: bytes) -> list[str]:
    found = json.loads(data)
    if not isinstance(found, dict):
        return []
    texts: Any = next((found[name] for name in _JSON_TEXTS if name in found), [])
    return [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]


def _part(member: tarfile.TarInfo, where: str) -> Part | None:
    """Return a member as a part of its sample; None where it is neither an image nor a text."""
    path = PurePosixPath(member.name)
    name, _, suffix = path.name.partition(".")
    kind: Literal["image", "text", "json"]
    if f".{suffix.lower()}" in IMAGE_SUFFIXES:
        kind = "image"
    elif f".{suffix.lower()}" in _TEXT_SUFFIXES:
        kind = "text"
    elif suffix.lower() == "json":
        kind = "json"
    else:
        return None
    sample = (path.parent / name).as_posix()
    return Part(name=sample, where=where, start=member.offset_data, size=member.size, kind=kind)


def _reason(part: Part) -> str:
    return (
        "IMAGE_TOO_LARGE"
        if part.kind == "image"
        else "TEXT_TOO_LONG"
        if part.size > TEXT_MAX_BYTES
        else "INVALID_FIELD"
    )


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    return str(error) if str(error).startswith("it has") else "it is not UTF-8, or no JSON"
