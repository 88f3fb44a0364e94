"""`python -m isthmus.gateway`: the gateway alone in its process, configured by its environment."""

from __future__ import annotations

import sys

from isthmus.gateway.config import GatewayConfig
from isthmus.gateway.service import build
from isthmus.runtime.rpc.process import run

if __name__ == "__main__":
    sys.exit(run(GatewayConfig.load, build))
