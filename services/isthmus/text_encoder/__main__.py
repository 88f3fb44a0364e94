"""`python -m isthmus.text_encoder`: the text encoder alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.runtime.rpc.process import serve
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.service import build

if __name__ == "__main__":
    config = TextEncoderConfig.load()
    sys.exit(
        serve(
            lambda: build(config),
            listen=config.listen,
            drain_wait_s=config.drain_wait_s,
            metrics_port=config.metrics_port,
            log_level=config.log_level,
        )
    )
