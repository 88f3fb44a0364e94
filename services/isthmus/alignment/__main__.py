"""`python -m isthmus.alignment`: the alignment service alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.alignment.config import AlignmentConfig
from isthmus.alignment.service import build
from isthmus.runtime.rpc.process import run

if __name__ == "__main__":
    sys.exit(run(AlignmentConfig.load, build))
