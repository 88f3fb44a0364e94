"""`python -m isthmus.alignment`: the alignment service alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build
from isthmus.runtime.rpc.process import serve

if __name__ == "__main__":
    config = AlignmentConfig.load()
    sys.exit(
        serve(
            lambda: build(config),
            listen=config.listen,
            drain_wait_s=config.drain_wait_s,
            metrics_port=config.metrics_port,
            log_level=config.log_level,
        )
    )
