"""From a matplotlib figure to an SVG that stands inside a page and takes its colours and letters from it."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any, Final, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

__all__ = [
    "BAD",
    "CARD",
    "EDGE",
    "GOOD",
    "IMAGE",
    "INK",
    "PALETTE",
    "SOFT",
    "TEXT",
    "Picture",
    "picture",
    "standalone",
    "styled",
    "styled_axes",
]

P = ParamSpec("P")
R = TypeVar("R")

# Colours that stand for roles; in the SVG each becomes the variable of its role, so that dark and light both work.
INK: Final = "#010101"
SOFT: Final = "#020202"
EDGE: Final = "#030303"
IMAGE: Final = "#040404"
TEXT: Final = "#050505"
GOOD: Final = "#060606"
BAD: Final = "#070707"
CARD: Final = "#080808"

PALETTE: Final[dict[str, tuple[str, str]]] = {
    "ink": ("#16202c", "#eef3f8"),
    "soft": ("#536072", "#9eacbd"),
    "edge": ("#dbe1e8", "#2f3b49"),
    "image": ("#b4550a", "#f2a65a"),
    "text": ("#1f5fbf", "#7fb2ff"),
    "good": ("#0b7559", "#6fdcbb"),
    "bad": ("#b3261e", "#ff9e96"),
    "card": ("#ffffff", "#161e28"),
}
"""Role -> colour on a light and on a dark ground; the page and every picture use the same."""

_VARIABLES: Final = dict(zip((INK, SOFT, EDGE, IMAGE, TEXT, GOOD, BAD, CARD), PALETTE, strict=True))
_WIDTH_INCHES: Final = 5.4
_SETTINGS: Final[Any] = {
    "svg.fonttype": "none",  # letters stay letters: they can be read aloud, selected and searched
    "svg.hashsalt": "isthmus",  # the same figures give the same bytes
    "font.family": "DejaVu Sans",  # measured with it, shown in the page's own
    "font.size": 9.0,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is a name
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": EDGE,
    "grid.linewidth": 0.7,
}
_ONE_AT_A_TIME: Final = threading.Lock()
"""matplotlib's settings are the whole process's, and a service draws in threads."""
_FONTS: Final = 'Inter, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture."""

    svg: str
    """An `<svg>` element without a link to anything outside it."""
    alt: str
    """What it shows, for those who do not see it."""


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in the page's style: matplotlib reads its settings whenever it makes something."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with _ONE_AT_A_TIME, rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return drawn


def styled_axes(*, height: float, rows: int = 1) -> tuple[Canvas, list[Axes]]:
    """Return a canvas of the page's column width, and its axes from the top down.

    Args:
        height: In inches.
        rows: Axes, one above the other, with one common horizontal axis.
    """
    canvas = Canvas(figsize=(_WIDTH_INCHES, height), layout="constrained")
    made = canvas.subplots(rows, 1, sharex=True, squeeze=False)
    axes: list[Axes] = list(made[:, 0])
    for one in axes:
        one.patch.set_visible(False)
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(length=0)
        one.set_axisbelow(True)
    return canvas, axes


def picture(canvas: Canvas, *, name: str, alt: str) -> Picture:
    """Return the canvas as a picture.

    Args:
        canvas: Made by `styled_axes`, inside a `styled` function.
        name: Different for every picture of a page: its ids start with it.
        alt: What it shows, for those who do not see it.
    """
    canvas.patch.set_visible(False)
    file = io.StringIO()
    canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :]  # no XML prologue, no doctype: both name addresses
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', drawn)
    drawn = drawn.replace("url(#", f"url(#{name}-")
    # The letters are the page's; only their size and weight are the picture's.
    drawn = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]+", _font, drawn)
    for colour, role in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var(--{role})")
    drawn = re.sub(r"(\d\.\d{2})\d+", r"\1", drawn)  # a hundredth of a point is less than anybody sees
    box = re.search(r'viewBox="[^"]*"', drawn)
    assert box is not None, "matplotlib writes a view box"
    body = drawn[drawn.index(">") + 1 :]
    return Picture(svg=f'<svg {box.group()} role="img" aria-label="{escape(alt)}">{body.strip()}', alt=alt)


def standalone(drawn: Picture) -> str:
    """Return a picture as a file of its own, in its light or dark colours as the reader prefers."""
    light, dark = ("".join(f"--{role}:{colours[ground]};" for role, colours in PALETTE.items()) for ground in (0, 1))
    style = (
        f"<style>svg{{{light}font-family:{_FONTS};background:var(--card)}}"
        f"@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    )
    opening, _, body = drawn.svg.partition(">")
    return f'{opening} xmlns="http://www.w3.org/2000/svg"><title>{escape(drawn.alt)}</title>{style}{body}\n'


def _font(found: re.Match[str]) -> str:
    weight, size = found.groups()
    return f"font-size: {size}" + (f"; font-weight: {weight}" if weight else "")
