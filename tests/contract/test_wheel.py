"""The wheel holds all of Isthmus: no editable install, no checkout, is needed to import any of it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)

IMPORT_ALL = """
import importlib, pkgutil, sys
unpacked, packages = sys.argv[1:]
sys.path[:0] = [unpacked, packages]
import isthmus
assert all(path.startswith(unpacked) for path in isthmus.__path__), list(isthmus.__path__)
names = [m.name for m in pkgutil.walk_packages(isthmus.__path__, "isthmus.") if not m.name.endswith(".__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content in a folder of its own."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_every_module_of_the_wheel_imports(unpacked: Path, tmp_path: Path) -> None:
    """With what `[serve]` names installed, each module in the wheel imports, and from nowhere but the wheel.

    `-S` leaves out the `.pth` files of site-packages, and with them the editable install of this tree.
    """
    packages = sysconfig.get_path("purelib")
    command = [sys.executable, "-S", "-I", "-c", IMPORT_ALL, str(unpacked), packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


@pytest.mark.parametrize(
    "name",
    [
        "isthmus/v1/grpc_service_config.json",
        "isthmus/v1/py.typed",
        "isthmus/alignment/shipped/flickr8k-heads/aligner.safetensors",
        "isthmus/alignment/shipped/flickr8k-heads/manifest.json",
        "isthmus/alignment/shipped/flickr8k-heads/LICENSE",
        "isthmus/alignment/shipped/flickr8k-heads/MODEL_CARD.md",
        "isthmus/alignment/shipped/flickr8k-heads/NOTICE",
    ],
)
def test_what_is_not_code_is_in_the_wheel(unpacked: Path, name: str) -> None:
    """Retry policy, types, the shipped aligner and its licence travel with the code."""
    assert (unpacked / name).is_file()
