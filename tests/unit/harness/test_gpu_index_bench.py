"""The bench of GPU structures, on the CPU: the same steps to the end."""

from __future__ import annotations

import faiss
import pytest

from tests.bench import gpu_index


def test_on_the_cpu_it_runs_to_its_end_and_the_answers_are_a_searchers_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Flat and IVF-SQ8 of a searcher, searched by FAISS alone: all answers equal, exit status 0."""
    assert gpu_index.main(["--device", "cpu", "--tiny"]) == 0
    assert capsys.readouterr().out.count("1.0000") == 2


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this FAISS can use a GPU")
def test_without_a_gpu_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and what to install."""
    assert gpu_index.main(["--device", "gpu", "--tiny"]) == 2
    assert "isthmus[gpu]" in capsys.readouterr().err
