"""A breaker: after enough failures in a row, stop asking until a probe has succeeded."""

from __future__ import annotations

__all__ = ["Breaker"]


class Breaker:
    """Counts failures in a row. Knows no clock: whoever owns it sends the probes.

    Args:
        threshold: Failures in a row that open it.
    """

    __slots__ = ("_failures", "_open", "_threshold")

    def __init__(self, *, threshold: int) -> None:
        self._threshold = threshold
        self._failures = 0
        self._open = False

    @property
    def is_open(self) -> bool:
        """True while nothing but a probe should be sent."""
        return self._open

    def succeeded(self) -> None:
        """Close it, or keep it closed."""
        self._failures = 0
        self._open = False

    def failed(self) -> bool:
        """Count a failure; return True when this one opened it."""
        self._failures += 1
        if self._open or self._failures < self._threshold:
            return False
        self._open = True
        return True
