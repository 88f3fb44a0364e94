"""`python -m isthmus.text_encoder`: the text encoder alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.runtime.rpc.encoder_process import run_encoder
from isthmus.text_encoder.config import TextEncoderConfig
from isthmus.text_encoder.service import build

if __name__ == "__main__":
    sys.exit(run_encoder(TextEncoderConfig.load, build))
