"""What the recovery tests leave to the long variant."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("ISTHMUS_TEST_LONG") == "1" else ["test_bulk_kill_ray_long.py"]
