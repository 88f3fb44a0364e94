"""What this process has held of memory at most."""

from __future__ import annotations

from pathlib import Path

__all__ = ["peak_rss_bytes"]


def peak_rss_bytes() -> int:
    """Return the most resident memory since this program began.

    Not `ru_maxrss`: a child starts with the peak of the process that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    msg = "the kernel tells no peak"
    raise RuntimeError(msg)
