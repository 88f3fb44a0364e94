"""The demo's second corpus: which colours, whose names are held back, and what is drawn of them."""

from __future__ import annotations

import io

from PIL import Image

from tools.demo.colours import Colour, load_colours, swatch


def test_the_colours_are_the_six_hundred_named_most_often() -> None:
    """Each once, most often first; no coarse name is among them."""
    colours = load_colours()
    assert len({one.name for one in colours}) == len({one.rgb for one in colours}) == 600
    assert [one.name for one in colours[:4]] == ["purple", "green", "blue", "pink"]
    assert not [one.name for one in colours if "vomit" in one.name or "poo" in one.name]


def test_every_sixth_name_is_held_back() -> None:
    """A hundred names that nothing can be fitted to, spread over common and rare ones."""
    unnamed = [place for place, one in enumerate(load_colours(), start=1) if not one.named]
    assert unnamed == list(range(6, 601, 6))


def test_a_swatch_is_its_colour_and_nothing_else() -> None:
    """Sixty-four pixels square, a PNG."""
    with Image.open(io.BytesIO(swatch(Colour("teal", "#029386", named=True)))) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 64))
        assert picture.getcolors() == [(64 * 64, (0x02, 0x93, 0x86))]
