"""Generate `protos/gen` from `protos/isthmus/v1`, with the exact generator of `constraints/protos.txt`.

    python tools/gen_protos.py            rewrite protos/gen
    python tools/gen_protos.py --into D   write to D instead (the test that compares does this)

The generator's versions are the floor for every client (generated code refuses an older runtime), so it runs in a
virtual environment of its own, `.venv-protos`, made on first use. Two runs give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("isthmus/v1")
PINS = ROOT / "constraints" / "protos.txt"
GENERATOR = ROOT / ".venv-protos"
INIT = '"""The wire types of `isthmus.v1`, generated from protos/isthmus/v1; never edited."""\n'


def generator_python() -> Path:
    """Return the interpreter of the generator's environment; make it when it is missing or its pins changed."""
    python = GENERATOR / "bin" / "python"
    stamp = GENERATOR / "pins.sha256"
    digest = hashlib.sha256(PINS.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text() == digest):
        venv.create(GENERATOR, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", PINS], check=True)
        stamp.write_text(digest)
    return python


def generate(into: Path) -> None:
    """Write the generated package to `into/isthmus/v1`, replacing what is there."""
    sources = sorted((PROTOS / PACKAGE).glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        python = generator_python()
        plugins = [f"--plugin={name}={python.parent / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
        outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        subprocess.run(
            [python, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *outputs, *map(str, sources)], check=True
        )
        package = out / PACKAGE
        for source in sources:
            if "\nservice " not in source.read_text():
                for leftover in package.glob(f"{source.stem}_pb2_grpc.py*"):
                    leftover.unlink()
        (package / "__init__.py").write_text(INIT)
        (package / "py.typed").touch()
        shutil.copy(PROTOS / PACKAGE / "grpc_service_config.json", package)
        target = into / PACKAGE
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(package, target)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Generate protos/gen.")
    parser.add_argument("--into", type=Path, default=PROTOS / "gen", help="folder to write to")
    generate(parser.parse_args().into)
    return 0


if __name__ == "__main__":
    sys.exit(main())
