"""The public surface of the client."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import types

import isthmus.client


def test_all_is_sorted_and_names_every_public_member() -> None:
    """`__all__` is sorted as ruff sorts it, and equals the public names of the package, its modules aside."""
    public = {
        name
        for name, value in vars(isthmus.client).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name != "annotations"
    }
    constants = sorted(name for name in public if name.isupper() and len(name) > 1)
    assert isthmus.client.__all__ == constants + sorted(public - set(constants))


def test_everything_that_a_call_takes_or_returns_is_exported() -> None:
    """What `inputs` and every `results` declare can be imported from the package; Pillow's protocol is internal."""
    modules = [module.name for module in pkgutil.walk_packages(isthmus.client.__path__, "isthmus.client.")]
    declaring = [name for name in modules if name.rpartition(".")[2] in {"inputs", "results"}]
    assert {"isthmus.client.results", "isthmus.client.search.results"} <= set(declaring)
    declared = {name for module in declaring for name in importlib.import_module(module).__all__}
    assert declared - {"PillowImage"} <= set(isthmus.client.__all__)


def test_values_are_frozen() -> None:
    """No dataclass of the client can be changed after it was made."""
    for name in isthmus.client.__all__:
        member = getattr(isthmus.client, name)
        if inspect.isclass(member) and dataclasses.is_dataclass(member):
            assert member.__dataclass_params__.frozen, name  # type: ignore[attr-defined]


def test_exceptions_can_be_imported_with_their_names() -> None:
    """Every class of the tree in `errors` is exported."""
    from isthmus.client import errors  # noqa: PLC0415 - the module itself is the subject

    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert classes <= set(isthmus.client.__all__)
