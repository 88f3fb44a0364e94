"""`python -m isthmus.index --role writer|searcher`: one of the two alone in its process.

Everything else is configured by the environment, `ISTHMUS_INDEX_…`.
"""

from __future__ import annotations

import argparse
import sys

from isthmus.index.config import IndexConfig
from isthmus.index.service import build
from isthmus.runtime.rpc.process import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m isthmus.index", description=__doc__)
    parser.add_argument("--role", choices=("writer", "searcher"), help="which of the two to run")
    role = parser.parse_args().role
    sys.exit(run(lambda: IndexConfig.load(role=role), build))
