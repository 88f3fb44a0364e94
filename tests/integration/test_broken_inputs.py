"""One broken input never harms its neighbours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from isthmus.client import Client, Input
from tests.harness.pictures import huge_png_header, jpeg, truncated_jpeg
from tests.harness.process import Process

BROKEN = {17: "INVALID_IMAGE", 100: "IMAGE_TOO_LARGE", 201: "EMPTY_TEXT"}


def _batch(seed: int) -> list[Input]:
    inputs = [
        Input(image=jpeg(seed * 1000 + n)) if n % 2 else Input(text=f"a picture of blocks number {seed} {n}")
        for n in range(256)
    ]
    inputs[17], inputs[100], inputs[201] = (
        Input(image=truncated_jpeg()),
        Input(image=huge_png_header()),
        Input(text=" "),
    )
    return inputs


@pytest.mark.timeout(180)
def test_three_broken_of_256_give_three_typed_errors(client: Client) -> None:
    """A cut JPEG, a PNG that claims 20,000 x 20,000 pixels and an empty text fail alone; 253 embeddings come back."""
    result = client.embed(inputs=_batch(1))
    assert {error.index: error.reason for error in result.errors} == BROKEN
    assert len(result.images.indexes) + len(result.texts.indexes) == 253
    assert not set(BROKEN) & {*result.images.indexes.tolist(), *result.texts.indexes.tolist()}
    for rows in (result.images.vectors, result.texts.vectors):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)


@pytest.mark.timeout(300)
def test_a_flood_of_broken_batches_leaves_the_service_healthy(mesh: Process) -> None:
    """Eight clients send such batches at once; each gets its three errors, and a sound call is answered afterwards."""

    def send(seed: int) -> dict[int, str]:
        with Client(mesh.address) as client:
            result = client.embed(inputs=_batch(10 + seed), timeout_s=120)
        assert len(result.images.indexes) + len(result.texts.indexes) == 253
        return {error.index: error.reason for error in result.errors}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(8))) == [BROKEN] * 8
    with Client(mesh.address) as client:
        assert not client.embed(texts=["all is well"]).errors
        assert all(encoder.serving for encoder in client.status().encoders)
