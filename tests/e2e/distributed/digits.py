"""Train a small network on scikit-learn's digits: in one process, or in many that share each batch."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BATCH, STEPS = 64, 40


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    trained: nn.Module = network
    if world > 1:
        dist.init_process_group("gloo")
        torch.manual_seed(rank)  # each starts with what the first has, whatever it had itself
        trained = DistributedDataParallel(network)
    images, kinds = (torch.tensor(each) for each in load_digits(return_X_y=True))
    step_by = torch.optim.SGD(trained.parameters(), lr=0.5)
    losses: list[float] = []
    for step in range(STEPS):
        first = step * BATCH % (len(images) - BATCH)
        own = slice(first + rank * BATCH // world, first + (rank + 1) * BATCH // world)
        loss = nn.functional.cross_entropy(trained(images[own].double() / 16), kinds[own])
        step_by.zero_grad()
        loss.backward()
        step_by.step()
        shown = loss.detach().clone()
        if world > 1:
            dist.all_reduce(shown)
        losses.append(float(shown) / world)
    weights = [float(weight) for each in network.parameters() for weight in each.detach().flatten()]
    print(f"rank {rank} of {world}: {losses[0]:.6f} -> {losses[-1]:.6f}", flush=True)
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps({"world": world, "losses": losses, "weights": weights}))
    if world > 1:
        dist.barrier()  # who hangs up while another still reads has it aborted
        dist.destroy_process_group()


main()
