"""Configuration of an index process."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import isthmus.index
from isthmus.index.config import IndexConfig

_MODULES = sorted(
    entry.name
    for entry in pkgutil.walk_packages(isthmus.index.__path__, "isthmus.index.")
    if not entry.ispkg and entry.name != "isthmus.index.__main__"
)


def test_settings_come_from_arguments_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment fills in what the arguments leave open."""
    monkeypatch.setenv("ISTHMUS_INDEX_ROLE", "searcher")
    monkeypatch.setenv("ISTHMUS_INDEX_SEARCH_THREADS", "3")
    config = IndexConfig.load(role="writer")
    assert (config.role, config.search_threads, config.durability) == ("writer", 3, "power")


def test_a_process_needs_a_role() -> None:
    """Nobody writes by accident."""
    with pytest.raises(ValueError, match="role"):
        IndexConfig.load()


@pytest.mark.parametrize("module", _MODULES)
def test_every_module_lists_what_it_offers(module: str) -> None:
    """`__all__` is true; ruff keeps it sorted."""
    offered = importlib.import_module(module)
    assert all(hasattr(offered, name) for name in offered.__all__)
