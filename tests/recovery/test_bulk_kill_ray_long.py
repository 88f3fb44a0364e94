"""kill -9 of `isthmus bulk-index` on Ray Data, which starts twice for half a minute; `ISTHMUS_TEST_LONG=1` runs it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from isthmus.client import Client
from tests.harness.bulk_command import command, finish, kill_when
from tests.harness.mesh import start_mesh
from tests.harness.shared import FLICKR8K_DEV

_BLOCK_ROWS = 128
_CAPTIONS = 5


@pytest.mark.timeout(600)
def test_an_actor_pool_of_ray_is_killed_and_resumed_alike(tmp_path: Path) -> None:
    """The same with Ray Data: its workers end with the killed command, and the next one goes on."""
    few = tmp_path / "few.parquet"
    count = 512
    pq.write_table(pq.read_table(FLICKR8K_DEV).slice(0, count), few, row_group_size=100)
    staging = tmp_path / "data" / "import"
    with start_mesh(tmp_path / "data") as mesh, Client(mesh.address) as client:
        bulk = command(mesh, staging, [few], "ray", block_rows=_BLOCK_ROWS)
        kill_when(bulk, staging, records=1, moment="*.json")
        done = finish(bulk)
        assert done["created"] == (_CAPTIONS + 1) * count
        assert done["blocks_resumed"] + done["blocks_reused"] >= 1
        info = client.get_collection("photos")
        assert (info.image_count, info.text_count) == (count, _CAPTIONS * count)
