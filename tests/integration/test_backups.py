"""Backup and restore through the gateway, by client and command line, into the real index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus.cli.main import app
from isthmus.client import AsyncClient, Client, DataLossError, Item
from tests.harness.s3_server import running_s3
from tests.integration.gateway_calls import create
from tests.unit.gateway.mesh import GatewayMesh, gateway_mesh

_ITEMS = [Item(id=f"t{number}", text=f"text {number}", attributes={"n": number}) for number in range(12)]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[GatewayMesh]:
    """A gateway in front of dummy encoders and the real index, with one collection."""
    async with gateway_mesh(data_dir=tmp_path / "data") as running:
        await create(running, "things")
        yield running


async def test_a_collection_comes_back_in_place_and_under_a_new_name(mesh: GatewayMesh, tmp_path: Path) -> None:
    """By both clients; reads with what this client wrote last see the restored state at once."""
    folder = tmp_path / "backup"
    async with AsyncClient(mesh.gateway.address) as client:
        written = await client.upsert("things", _ITEMS)
        made = await client.backup_collection("things", folder)
        assert (made.revision, made.texts, made.images, made.oldest_revision) == (written.revision, 12, 0, 1)
        await client.delete("things", ["t1", "t2"])
        await client.upsert("things", [Item(id="late", text="late")])
        done = await client.restore_collection(folder)
        assert (done.created, done.deleted, done.updated, done.unchanged) == (2, 1, 0, 10)
        assert done.collection.revision > written.revision + 2
        got = await client.get_items("things", ["t1", "t2", "late"])
        assert [item.id for item in got.items] == ["t1", "t2"]
        with pytest.raises(FileExistsError):
            await client.backup_collection("things", folder)

    def in_thread() -> None:
        with Client(mesh.gateway.address) as client:
            copy = client.restore_collection(folder, collection="copy", to_revision=1)
            assert copy.collection.revision == written.revision + 1
            assert copy.collection.text_count == 0
            made = client.backup_collection("things", tmp_path / "second")
            assert made.revision == done.collection.revision

    await asyncio.to_thread(in_thread)


async def test_a_damaged_backup_is_refused_with_data_loss_and_changes_nothing(
    mesh: GatewayMesh, tmp_path: Path
) -> None:
    """One bit of a file, on the disk where it was kept."""
    folder = tmp_path / "backup"
    async with AsyncClient(mesh.gateway.address) as client:
        await client.upsert("things", _ITEMS)
        made = await client.backup_collection("things", folder)
        file = folder / "events-00000.arrow"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(bytes(data))
        with pytest.raises(DataLossError) as caught:
            await client.restore_collection(folder)
        assert caught.value.reason == "BACKUP_DAMAGED"
        assert (await client.get_collection("things")).revision == made.revision


async def test_the_command_line_backs_up_to_a_folder_and_to_an_object_store(
    mesh: GatewayMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`isthmus collections backup` and `restore`, one JSON document each."""

    async def isthmus(*arguments: str) -> Any:
        line = ["collections", *arguments, "--address", mesh.gateway.address, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, app, line)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    async with AsyncClient(mesh.gateway.address) as client:
        await client.upsert("things", _ITEMS)
        # The command line is another client, which does not know what this one wrote.
        await client.get_items("things", [_ITEMS[0].id])
    with running_s3() as s3:
        for name, value in s3.env.items():
            monkeypatch.setenv(name, value)
        for number, target in enumerate((str(tmp_path / "backup"), f"{s3.root}/backups/one")):
            made = await isthmus("backup", "things", "--to", target)
            assert (made["collection"], made["texts"], made["to"]) == ("things", 12, target)
            done = await isthmus("restore", target, "--name", f"copy{number}")
            assert done["collection"]["text_count"] == 12
