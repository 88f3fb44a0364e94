"""The mesh as six plain processes, each started alone, the way a deployment would."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.harness.process import Process

__all__ = ["start_processes"]


@contextlib.contextmanager
def start_processes(data_dir: Path) -> Iterator[dict[str, Process]]:
    """Start the six processes on free ports of loopback; yield them by name, `gateway` among them."""
    running: dict[str, Process] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str, module: str, *arguments: str, **env: str) -> str:
            process = Process(
                ["-m", module, *arguments],
                ready=f"isthmus {name} ready ",
                env={"ISTHMUS_INDEX_STORE_DIR": str(data_dir / "store"), **env},
            )
            running[name] = stack.enter_context(process)
            return process.address

        writer = start("index_writer", "isthmus.index", "--role", "writer")
        searcher = start("index_search", "isthmus.index", "--role", "searcher", ISTHMUS_INDEX_WRITER_ADDRESS=writer)
        alignment = start(
            "alignment",
            "isthmus.alignment",
            ISTHMUS_ALIGNMENT_ALIGNERS_DIR=str(data_dir / "aligners"),
            ISTHMUS_ALIGNMENT_INDEX_SEARCH_ADDRESS=searcher,
        )
        image = start("image_encoder", "isthmus.image_encoder", ISTHMUS_IMAGE_ENCODER_CACHE_DIR=str(data_dir / "cache"))
        text = start("text_encoder", "isthmus.text_encoder", ISTHMUS_TEXT_ENCODER_CACHE_DIR=str(data_dir / "cache"))
        start(
            "gateway",
            "isthmus.gateway",
            ISTHMUS_GATEWAY_LISTEN="127.0.0.1:0",
            ISTHMUS_GATEWAY_IMAGE_ENCODER_ADDRESS=image,
            ISTHMUS_GATEWAY_TEXT_ENCODER_ADDRESS=text,
            ISTHMUS_GATEWAY_ALIGNMENT_ADDRESS=alignment,
            ISTHMUS_GATEWAY_INDEX_WRITER_ADDRESS=writer,
            ISTHMUS_GATEWAY_INDEX_SEARCH_ADDRESS=searcher,
        )
        yield running
