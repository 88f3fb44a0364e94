"""`python -m tools.demo`: a mesh is started, searched in every direction, given an aligner, rolled back and stopped."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from isthmus.client import Client, IsthmusError
from tools.demo.colours import load_colours
from tools.demo.cycle import run_cycle
from tools.demo.cycle_table import print_cycle
from tools.demo.mesh import DemoError, Mesh, isthmus_command
from tools.demo.page import REPORT_NAME, render_page
from tools.demo.pictures import Selection, load_pictures
from tools.demo.results import Run, as_json
from tools.demo.searches import ask, index_pictures, questions
from tools.demo.table import print_run

__all__ = ["run_demo"]

_MARKER = "made-by-isthmus-demo"
_SIGTERM_EXIT_CODE = 128 + signal.SIGTERM


def run_demo(selection: Selection, *, out: Path, messages: Console) -> Run:
    """Run the whole demo against a fresh mesh; the mesh is stopped in every case.

    Args:
        selection: The photographs.
        out: Folder for the mesh's data and its log.
        messages: Where progress is shown.

    Returns:
        Everything that was measured.

    Raises:
        DemoError: When there is no photograph, the mesh does not start, refuses an item or does not stop cleanly; or
            when a step of the aligner's life does not do what it promises.
        IsthmusError: When a call fails.
    """
    if not selection.pictures:
        msg = "none of the described photographs is installed; `make demo` installs them"
        raise DemoError(msg)
    started = time.monotonic()
    data_dir = _fresh_data_dir(out)
    mesh = Mesh(command=isthmus_command(), data_dir=data_dir, log_file=out / "mesh.log")
    with Progress(console=messages, transient=True) as progress:
        task = progress.add_task("starting the mesh", total=None)
        with mesh, Client(mesh.address) as client:
            progress.update(task, description="indexing")
            indexed = index_pictures(client, selection.pictures)
            asked = questions(selection.pictures)
            everything = sum(1 + len(picture.captions) for picture in selection.pictures)
            progress.update(task, description="searching", total=len(asked))
            searches = tuple(
                ask(client, question, top_k=everything) for question in progress.track(asked, task_id=task)
            )
            progress.update(task, total=None)
            cycle = run_cycle(client, load_colours(), tell=lambda step: progress.update(task, description=step))
            progress.update(task, description="stopping the mesh")
    return Run(
        pictures=selection.pictures,
        left_out=selection.left_out,
        searches=searches,
        ready_s=mesh.ready_s,
        index_s=indexed.seconds,
        stop_s=mesh.stop_s,
        total_s=time.monotonic() - started,
        image_space=indexed.image_space,
        text_space=indexed.text_space,
        aligner=indexed.aligner,
        cycle=cycle,
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder for the page, the log and the mesh's data.")] = Path("demo-out"),
    *,
    as_document: Annotated[bool, typer.Option("--json", help="Print one JSON document in place of tables.")] = False,
) -> None:
    """Find real photographs by real sentences, and the other way round, in a mesh that is started for it.

    Then fit an aligner to a corpus that the shipped one was not made for, verify, promote and use it, and roll it back.
    """
    signal.signal(signal.SIGTERM, _leave)
    messages = Console(stderr=True)
    try:
        run = run_demo(load_pictures(), out=out, messages=messages)
    except (DemoError, IsthmusError) as error:
        messages.print(f"demo: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    page = out / "index.html"
    page.write_text(render_page(run), encoding="utf-8")
    report = out / REPORT_NAME
    report.write_text(run.cycle.page, encoding="utf-8")
    if as_document:
        print(json.dumps({**as_json(run), "page": str(page), "report": str(report)}, indent=2, ensure_ascii=False))
    else:
        console = Console()
        print_run(run, console)
        print_cycle(run.cycle, console)
        console.print(
            f"\nReady in {run.ready_s:.1f} s, stopped in {run.stop_s:.1f} s; {run.total_s:.1f} s in all.\n"
            f"The page: {page}\nThe aligner's report: {report}",
            highlight=False,
            soft_wrap=True,
        )


def _fresh_data_dir(out: Path) -> Path:
    """Return an empty data directory; an older one is removed only when the demo made it.

    Raises:
        DemoError: When a folder of that name is there and the demo did not make it.
    """
    data_dir, marker = out / "data", out / _MARKER
    if data_dir.exists():
        if not marker.exists():
            msg = f"{data_dir} is there and was not made by the demo; choose another --out"
            raise DemoError(msg)
        shutil.rmtree(data_dir)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return data_dir


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Turn SIGTERM into an ordinary exit, so that the mesh is stopped on the way out."""
    sys.exit(_SIGTERM_EXIT_CODE)


if __name__ == "__main__":
    typer.run(main)
