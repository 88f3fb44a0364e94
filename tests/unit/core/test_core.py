"""The package itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from isthmus.core import Modality

MODULES = "isthmus.core, isthmus.core.aligners, isthmus.core.gap, isthmus.core.metrics"
PURE = f"import {MODULES}; import sys; print(*sys.modules)"


def test_core_imports_no_framework() -> None:
    """The searcher applies aligners without torch, and nothing in core knows a wire or a store."""
    loaded = subprocess.run([sys.executable, "-c", PURE], check=True, capture_output=True, text=True).stdout.split()
    assert not {"torch", "grpc", "ray", "redis", "faiss", "lance"} & set(loaded)


@pytest.mark.parametrize("modality", list(Modality))
def test_the_other_modality_of_the_other_is_the_first(modality: Modality) -> None:
    """There are two, and each is the other's other."""
    assert modality.other is not modality
    assert modality.other.other is modality
