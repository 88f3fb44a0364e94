"""An encoder service alone in its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from isthmus.encoders import EncoderLoadError
from isthmus.encoders.config import EncoderConfig
from isthmus.runtime.rpc.process import complain, run
from isthmus.runtime.rpc.server import Hosted

__all__ = ["run_encoder"]

ConfigT = TypeVar("ConfigT", bound=EncoderConfig)


def run_encoder(load: Callable[[], ConfigT], build: Callable[[ConfigT], Hosted]) -> int:
    """Serve until SIGTERM.

    Args:
        load: Reads its settings.
        build: Makes the service of them.

    Returns:
        The exit status, as `process.run`; 1 also when the model cannot or may not be loaded.
    """
    try:
        return run(load, build)
    except EncoderLoadError as error:
        return complain(str(error))
