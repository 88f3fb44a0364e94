"""The cheap look at a table that may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from isthmus.index.watch import ChangeHint

_OLD_NS = 1_000_000_000_000_000_000


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """The folder of a table's versions, last changed long ago."""
    folder = tmp_path / "_versions"
    folder.mkdir()
    os.utime(folder, ns=(_OLD_NS, _OLD_NS))
    return folder


def _settled(folder: Path) -> ChangeHint:
    hint = ChangeHint(str(folder.parent))
    hint.settle(hint.stamp())
    return hint


def test_a_table_nobody_read_yet_may_have_changed(versions: Path) -> None:
    """The first look is never spared."""
    assert ChangeHint(str(versions.parent)).may_have_changed()


def test_a_table_that_stayed_as_it_was_has_not_changed(versions: Path) -> None:
    """Once read, it is quiet."""
    assert not _settled(versions).may_have_changed()


def test_a_new_version_is_noticed(versions: Path) -> None:
    """A file more in the folder changes its time stamp."""
    hint = _settled(versions)
    (versions / "2.manifest").touch()
    assert hint.may_have_changed()


def test_a_stamp_read_before_a_commit_does_not_hide_it(versions: Path) -> None:
    """A reader that was overtaken looks again."""
    hint = ChangeHint(str(versions.parent))
    stamp = hint.stamp()
    os.utime(versions, ns=(_OLD_NS + 1, _OLD_NS + 1))
    hint.settle(stamp)
    assert hint.may_have_changed()


def test_a_very_fresh_stamp_is_not_trusted(versions: Path) -> None:
    """Two commits within the clock's grain have one stamp."""
    os.utime(versions)
    assert _settled(versions).may_have_changed()


def test_a_stamp_is_believed_for_a_second_at_most(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system may show an old stamp for long."""
    hint = _settled(versions)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.5)
    assert hint.may_have_changed()


def test_nothing_is_known_of_an_object_store_or_of_a_table_that_is_gone(tmp_path: Path) -> None:
    """There the store itself must be asked."""
    for uri in ("s3://bucket/table.lance", str(tmp_path / "gone.lance")):
        hint = ChangeHint(uri)
        hint.settle(hint.stamp())
        assert hint.may_have_changed()
