"""The command line: `isthmus`. One file a group of commands; what a command says of itself is its docstring."""

from __future__ import annotations

import os

# gRPC's core writes lines of its own to stderr, where a command promises one line a failure. It reads this when it is
# loaded, which any import below this package does. Who debugs gRPC sets the variable and gets its lines.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
