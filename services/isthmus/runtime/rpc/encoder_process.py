"""An encoder service alone in its process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from isthmus.encoders import EncoderLoadError
from isthmus.encoders.config import EncoderConfig
from isthmus.runtime.rpc.process import serve
from isthmus.runtime.rpc.server import Hosted

__all__ = ["run_encoder"]

ConfigT = TypeVar("ConfigT", bound=EncoderConfig)


def run_encoder(build: Callable[[ConfigT], Hosted], config: ConfigT) -> int:
    """Serve until SIGTERM.

    Args:
        build: Makes the service.
        config: Its settings.

    Returns:
        The exit status: 0 after a clean drain, 1 when the model cannot or may not be loaded, said on stderr.
    """
    try:
        return serve(
            lambda: build(config),
            listen=config.listen,
            drain_wait_s=config.drain_wait_s,
            metrics_port=config.metrics_port,
            log_level=config.log_level,
        )
    except EncoderLoadError as error:
        sys.stderr.write(f"isthmus: {error}\n")
        return 1
