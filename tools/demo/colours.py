"""A corpus that the shipped aligner was not made for: colours, and what people call them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Final

from matplotlib.colors import XKCD_COLORS
from PIL import Image

__all__ = ["Colour", "load_colours", "swatch"]

_COUNT: Final = 600
_UNNAMED_EVERY: Final = 6
_SIDE_PX: Final = 64
_COARSE: Final = re.compile(r"shit|poo|puke|vomit|barf|snot|booger|piss|diarrhea|bile")
"""Named by people all the same; a demo is shown to anybody."""


@dataclass(frozen=True)
class Colour:
    """One colour of xkcd's survey, in which people typed what they would call a colour that they saw.

    Attributes:
        name: What most people called it.
        rgb: `#rrggbb`.
        named: Whether the mesh is told its name. The others are stored as pictures alone, so that no aligner can learn
            from them: their names are what the demo asks for.
    """

    name: str
    rgb: str
    named: bool


def load_colours() -> tuple[Colour, ...]:
    """Return the 600 that were named most often, most often first; matplotlib carries the list, least often first."""
    kept = [
        (name.removeprefix("xkcd:"), str(rgb))
        for name, rgb in reversed(XKCD_COLORS.items())
        if not _COARSE.search(name)
    ]
    return tuple(
        Colour(name=name, rgb=rgb, named=place % _UNNAMED_EVERY != 0)
        for place, (name, rgb) in enumerate(kept[:_COUNT], start=1)
    )


def swatch(colour: Colour) -> bytes:
    """Draw a square of nothing but the colour.

    Args:
        colour: Which.

    Returns:
        A PNG file's bytes.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (_SIDE_PX, _SIDE_PX), colour.rgb).save(buffer, format="PNG")
    return buffer.getvalue()
