"""Counts up to a number, one step each `pause_s`, and goes on from its checkpoint."""

import os
import sys
import time
from pathlib import Path

last, pause_s = int(sys.argv[1]), float(sys.argv[2])
checkpoint = Path(os.environ["ULTRAMARINE_CHECKPOINT_DIR"]) / "step"
begin = int(checkpoint.read_text()) if checkpoint.exists() else 0
for step in range(begin + 1, last + 1):
    fresh = checkpoint.with_suffix(".tmp")
    fresh.write_text(str(step))
    fresh.rename(checkpoint)
    print(step, flush=True)
    time.sleep(pause_s)
