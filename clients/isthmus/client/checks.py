"""What is checked of arguments before anything is sent."""

from __future__ import annotations

__all__ = ["check_one"]


def check_one(owner: str, **given: object) -> None:
    """Check that exactly one is given.

    Raises:
        ValueError: none, or several.
    """
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        msg = f"{owner} takes exactly one of {', '.join(given)}; {len(names)} are given"
        raise ValueError(msg)
