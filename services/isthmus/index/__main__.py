"""`python -m isthmus.index --role writer|searcher`: one of the two alone in its process.

Everything else is configured by the environment, `ISTHMUS_INDEX_…`.
"""

from __future__ import annotations

import argparse
import sys

from isthmus.index.config import IndexConfig
from isthmus.index.service import build
from isthmus.runtime.rpc.process import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m isthmus.index", description=__doc__)
    parser.add_argument("--role", choices=("writer", "searcher"), help="which of the two to run")
    config = IndexConfig.load(role=parser.parse_args().role)
    sys.exit(
        serve(
            lambda: build(config),
            listen=config.listen,
            drain_wait_s=config.drain_wait_s,
            metrics_port=config.metrics_port,
            log_level=config.log_level,
        )
    )
