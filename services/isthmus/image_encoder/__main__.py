"""`python -m isthmus.image_encoder`: the image encoder alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.service import build
from isthmus.runtime.rpc.process import serve

if __name__ == "__main__":
    config = ImageEncoderConfig.load()
    sys.exit(
        serve(
            lambda: build(config),
            listen=config.listen,
            drain_wait_s=config.drain_wait_s,
            metrics_port=config.metrics_port,
            log_level=config.log_level,
        )
    )
