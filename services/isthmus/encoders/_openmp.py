"""Make OpenMP threads sleep while they wait; imported before torch, whose OpenMP reads the variable once, on loading.

The threads of a forward pass wait for one another at every layer. By default they spin, which is fastest on idle cores
and ruinous on shared ones: a spinning thread holds the core that the one it waits for needs. A mesh on a laptop always
shares: two encoders, the preparing threads, the event loop and FAISS. Measured on two cores with two threads, items/s
while other processes kept about two cores busy, and idle:

    MiniLM, batches of 32             spinning  45   sleeping 319      idle: 388 and 409
    EfficientNet-Lite0, batches of 8  spinning  12   sleeping  74      idle: 113 and  94

A value that the environment already holds wins.
"""

from __future__ import annotations

import os

__all__: list[str] = []

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
