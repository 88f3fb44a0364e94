"""`python -m isthmus.image_encoder`: the image encoder alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.image_encoder.config import ImageEncoderConfig
from isthmus.image_encoder.service import build
from isthmus.runtime.rpc.encoder_process import run_encoder

if __name__ == "__main__":
    sys.exit(run_encoder(ImageEncoderConfig.load, build))
