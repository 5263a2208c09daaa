"""Add up numbers of all MPI processes; with a rank given, that one fails, and with `wait` all go on for ever."""

import os
import sys
import time

import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
total = np.zeros(1000)
world.Allreduce(np.full(1000, world.rank + 1.0), total)
node, rank = os.environ["ULTRAMARINE_NODE_RANK"], os.environ["ULTRAMARINE_RANK"]
print(f"rank {world.rank} of {world.size} on {node}: {total[0]:g} {rank} {os.environ['COLOUR']}", flush=True)
print(f"in {os.getcwd()}, {'START_SECRET' in ' '.join(os.environ)}", flush=True)
if sys.argv[1:] == [str(world.rank)]:
    os._exit(7)  # without the end of MPI, which would wait for all
while sys.argv[1:] == ["wait"]:
    time.sleep(60)
world.Barrier()
