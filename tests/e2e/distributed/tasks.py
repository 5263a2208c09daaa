"""Squares by tasks on all nodes of the job's own Ray; with `wait`, go on for ever."""

import os
import sys
import time

import ray

ray.init(log_to_driver=False, logging_level="error")


@ray.remote(scheduling_strategy="SPREAD")
def square(n: int) -> int:
    return n * n


alive = [node for node in ray.nodes() if node["Alive"]]
total = sum(ray.get([square.remote(n) for n in range(10)]))
print(f"nodes {len(alive)} cpus {ray.cluster_resources()['CPU']} squares {total}", flush=True)
print("a secret is seen" if "ULTRAMARINE_START_SECRET" in os.environ else "no secret is seen", flush=True)
while sys.argv[1:] == ["wait"]:
    print("waiting", flush=True)
    time.sleep(60)
