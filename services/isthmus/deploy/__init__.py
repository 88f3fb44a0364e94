"""Put the services together: the whole mesh in one process."""

from __future__ import annotations

import os

# Must be set before any OpenMP runtime is loaded: torch's, FAISS's and scikit-learn's threads otherwise spin while they
# wait, and take the cores from one another. See encoders/_openmp.py for figures. A value that is set already wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
