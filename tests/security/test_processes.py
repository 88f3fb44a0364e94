"""TLS and keys as an operator sets them: processes, variables, files and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from isthmus.client import Client, Item, NotFoundError, Tls, UnauthenticatedError
from isthmus.runtime.base.errors import NotFoundError as NotFound
from isthmus.runtime.base.transport import Tls as Files
from isthmus.runtime.rpc.channel import call, open_channel
from isthmus.runtime.rpc.tls_channel import ChannelTls
from isthmus.v1 import alignment_service_pb2
from isthmus.v1.alignment_service_pb2_grpc import AlignmentServiceStub
from tests.harness.mesh import start_mesh
from tests.harness.process import Process
from tests.security.edge import Pki


def _isthmus(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "isthmus.cli", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


@pytest.mark.timeout(120)
def test_a_mesh_with_tls_and_keys_from_the_command_line(tmp_path: Path) -> None:
    """Make keys, start a mesh with them, index and search by `isthmus` and by the client; strangers are refused."""
    pki = Pki(tmp_path / "pki")
    cert_file, key_file = pki.issue("mesh")
    made = {
        name: json.loads(_isthmus("keys", "new", "--tenant", tenant, "--role", role, "--json").stdout)
        for name, tenant, role in (("shop", "shop", "admin"), ("rival", "rival", "admin"))
    }
    keys_file = tmp_path / "keys"
    keys_file.write_text("".join(f"{entry['line']}\n" for entry in made.values()))
    secure = ["--tls-cert", str(cert_file), "--tls-key", str(key_file), "--keys", str(keys_file)]
    key_of_shop = tmp_path / "shop.key"
    key_of_shop.write_text(f"{made['shop']['key']}\n")
    tls = Tls(ca_file=pki.ca_file)
    with start_mesh(tmp_path / "data", *secure) as mesh:
        reach = ("--ca-file", str(pki.ca_file), "--api-key-file", str(key_of_shop))
        created = _isthmus(*reach, "collections", "create", "things", "--address", mesh.address, "--json")
        assert created.returncode == 0, created.stderr
        with Client(mesh.address, tls=tls, api_key=made["shop"]["key"]) as shop:
            shop.upsert("things", [Item(id="a", text="a sleeping cat")])
        found = _isthmus(
            *("search", "--collection", "things", "--text", "a cat", "--address", mesh.address, "--json"),
            ISTHMUS_CA_FILE=str(pki.ca_file),
            ISTHMUS_API_KEY=made["shop"]["key"],
        )
        assert json.loads(found.stdout)["neighbors"][0]["id"] == "a"
        refused = _isthmus("status", "--address", mesh.address, ISTHMUS_CA_FILE=str(pki.ca_file))
        assert refused.returncode == 1
        assert "KEY_REQUIRED" in refused.stderr
        with Client(mesh.address, tls=tls, api_key=made["rival"]["key"]) as rival:
            with pytest.raises(NotFoundError):
                rival.search("things", text="a cat")
            assert rival.list_collections() == ()
        with Client(mesh.address, tls=tls) as nobody, pytest.raises(UnauthenticatedError):
            nobody.status()
        assert mesh.terminate() == 0
        log = mesh.log()
    for entry in made.values():
        assert entry["key"] not in log
    assert "TRACEBACK" not in log.upper()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "mesh.example"])  # noqa: S104 - refused
def test_a_mesh_is_not_opened_to_other_machines_without_tls_and_keys(host: str, tmp_path: Path) -> None:
    """Status 2 and one line that says what is missing, before anything is started or made."""
    done = _isthmus("up", "--host", host, "--data-dir", str(tmp_path / "data"), "--port", "0")
    assert done.returncode == 2
    assert "a --host that other machines reach needs --tls-cert, --tls-key and --keys" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.timeout(120)
async def test_plain_processes_speak_mutual_tls(tmp_path: Path) -> None:
    """A caller with a certificate reaches the alignment process, and that one the searcher's; without one, nobody."""
    pki = Pki(tmp_path / "pki")
    ca_file = str(pki.ca_file)

    def identity(prefix: str, name: str) -> dict[str, str]:
        cert_file, key_file = pki.issue(name)
        return {f"{prefix}TLS_CERT_FILE": str(cert_file), f"{prefix}TLS_KEY_FILE": str(key_file)}

    store = {"ISTHMUS_INDEX_STORE_DIR": str(tmp_path / "store")}
    index = {**store, **identity("ISTHMUS_INDEX_", "index"), "ISTHMUS_INDEX_TLS_CLIENT_CA_FILE": ca_file}
    prefix = "ISTHMUS_ALIGNMENT_"
    alignment = {
        **identity(prefix, "alignment"),
        **identity(f"{prefix}BACKEND_", "alignment-as-caller"),
        f"{prefix}TLS_CLIENT_CA_FILE": ca_file,
        f"{prefix}BACKEND_TLS_CA_FILE": ca_file,
        f"{prefix}ALIGNERS_DIR": str(tmp_path / "aligners"),
    }
    cert_file, key_file = pki.issue("caller")
    caller = Files(cert_file=cert_file, key_file=key_file, ca_file=pki.ca_file)
    request = alignment_service_pb2.AlignmentServiceEvaluateRequest(collection="absent")
    with (
        Process(["-m", "isthmus.index", "--role", "writer"], ready="isthmus index_writer ready", env=index),
        Process(
            ["-m", "isthmus.index", "--role", "searcher"], ready="isthmus index_search ready", env=index
        ) as searcher,
        Process(
            ["-m", "isthmus.alignment"],
            ready="isthmus alignment ready",
            env={**alignment, f"{prefix}INDEX_SEARCH_ADDRESS": searcher.address},
        ) as process,
    ):
        async with open_channel(process.address, tls=ChannelTls(caller)) as channel:
            # The searcher's own word, which came over both hops.
            with pytest.raises(NotFound) as caught:
                await call(AlignmentServiceStub(channel).Evaluate, request, backend="alignment", timeout_s=10)
            assert caught.value.reason == "COLLECTION_NOT_FOUND"
        for tls in (None, ChannelTls(Files(ca_file=pki.ca_file))):
            async with open_channel(process.address, tls=tls) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await AlignmentServiceStub(channel).Evaluate(request, timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
