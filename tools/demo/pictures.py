"""The photographs of the demo: which they are, what was written about them, and small copies for the page."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

__all__ = ["CAPTIONS_FILE", "Picture", "Selection", "Thumbnail", "load_pictures", "mirrored_crop", "thumbnail"]

CAPTIONS_FILE = Path(__file__).with_name("captions.jsonl")
"""One JSON object a line: package, file, sha256, captions. Written before the first run, see README.md."""

_CAPTIONS_PER_PICTURE = 3
_CROP_SHARE = 0.7
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """One photograph with what was written about it.

    Attributes:
        key: Name of the file without its ending; the pair key that joins the picture and its captions.
        package: Distribution whose wheel carries the file.
        path: Where the file lies on this machine.
        captions: Three sentences, written by looking only at the picture.
    """

    key: str
    package: str
    path: Path
    captions: tuple[str, ...]

    @property
    def image_id(self) -> str:
        """Id of the picture's item in the collection."""
        return f"image/{self.path.name}"

    def caption_ids(self) -> tuple[str, ...]:
        """Ids of the captions' items, in the order of `captions`."""
        return tuple(f"text/{self.path.name}/{number}" for number in range(1, len(self.captions) + 1))


@dataclass(frozen=True)
class Selection:
    """What the installed wheels hold of the pictures that were described.

    Attributes:
        pictures: Present, and byte for byte the picture that was described.
        left_out: (file, reason) for each other one.
    """

    pictures: tuple[Picture, ...]
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of a picture.

    Attributes:
        uri: The whole picture as a `data:` address.
        width_px: Its width.
        height_px: Its height.
    """

    uri: str
    width_px: int
    height_px: int


def load_pictures(captions_file: Path = CAPTIONS_FILE) -> Selection:
    """Find the described photographs inside the installed packages.

    Args:
        captions_file: One JSON object a line with `package`, `file` (path inside the wheel), `sha256`, `captions`.

    Returns:
        The pictures in the order of the file. A picture that is missing, or differs from the one that was described, is
        left out with the reason: captions of another picture would measure nothing.

    Raises:
        ValueError: When a line lacks one of its keys or does not hold three different captions.
    """
    pictures: list[Picture] = []
    left_out: list[tuple[str, str]] = []
    for number, line in enumerate(captions_file.read_text(encoding="utf-8").splitlines(), start=1):
        entry = json.loads(line)
        missing = {"package", "file", "sha256", "captions"} - set(entry)
        if missing:
            msg = f"line {number}: lacks {', '.join(sorted(missing))}"
            raise ValueError(msg)
        captions = tuple(str(caption) for caption in entry["captions"])
        if len(set(captions)) != _CAPTIONS_PER_PICTURE or len(captions) != _CAPTIONS_PER_PICTURE:
            msg = f"line {number}: {len(captions)} captions, needs {_CAPTIONS_PER_PICTURE} different ones"
            raise ValueError(msg)
        path = _installed(entry["file"])
        if path is None:
            left_out.append((entry["file"], f"not carried by the installed {entry['package']}"))
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            left_out.append((entry["file"], f"the installed {entry['package']} carries another picture by this name"))
        else:
            pictures.append(Picture(key=path.stem, package=entry["package"], path=path, captions=captions))
    return Selection(pictures=tuple(pictures), left_out=tuple(left_out))


def mirrored_crop(path: Path) -> bytes:
    """Make a picture that is new to the mesh: the middle 70 % of each side, mirrored left to right.

    Args:
        path: The photograph.

    Returns:
        A JPEG file's bytes.
    """
    with Image.open(path) as picture:
        width, height = picture.size
        margin_x, margin_y = round(width * (1 - _CROP_SHARE) / 2), round(height * (1 - _CROP_SHARE) / 2)
        middle = picture.convert("RGB").crop((margin_x, margin_y, width - margin_x, height - margin_y))
        return _jpeg(ImageOps.mirror(middle))


def thumbnail(source: Path | bytes, *, side_px: int) -> Thumbnail:
    """Make a small copy that needs no file beside the page.

    Args:
        source: A picture's path or its file's bytes.
        side_px: Longest side of the copy; a smaller picture keeps its size.

    Returns:
        The copy as a `data:image/jpeg;base64,…` address with its size.
    """
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
        small = picture.convert("RGB")
    small.thumbnail((side_px, side_px))
    uri = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(small)).decode('ascii')}"
    return Thumbnail(uri=uri, width_px=small.width, height_px=small.height)


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def _installed(file: str) -> Path | None:
    """Return where a wheel's file lies, without importing the package that carries it."""
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / rest
        if path.is_file():
            return path
    return None
