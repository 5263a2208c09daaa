"""Allocations on a Ray cluster: placement groups and actors under our keys, and a record of each in Ray's own store.

The records tell what Ray forgets: that an allocation was made once, or has ended. All of it is in the cluster, so
another engine finds it.
"""

import json
import threading
import time

import agent
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

LOOK_S = 1.0  #: that actors have to answer
STUCK_S = 5.0  #: after its grace an actor that does not tell of its runner's end is killed with it
RELEASED = "Released."


class Cluster:
    def __init__(self, address, namespace):
        self.lock = threading.Lock()
        self.news = {}  #: by key, what was seen last
        self._namespace, self._store = namespace, namespace.encode()
        self._heard = set()  #: keys whose actors have answered once
        ray.cloudpickle.register_pickle_by_value(agent)
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="warning")
        self._agent = ray.remote(agent.Agent)

    def allocate(self, key, *, configs, bundle, runner):
        """`bundle`: what each node gives, in Ray's words; `runner`: the packed runner's path."""
        with self.lock:
            made = {"state": "asked", "nodes": len(configs), "bundle": bundle}
            _internal_kv_put(key.encode(), json.dumps(made).encode(), False, namespace=self._store)
            if self._record(key)["state"] != "asked":
                return
            group = self._group(key) or placement_group(
                [bundle] * len(configs), strategy="STRICT_SPREAD", name=key, lifetime="detached"
            )
            with open(runner, "rb") as file:
                packed = file.read()
            for rank, config in enumerate(configs):
                self._agent.options(
                    name=f"{key}.{rank}",
                    lifetime="detached",
                    get_if_exists=True,
                    max_restarts=0,
                    num_cpus=bundle.get("CPU", 0),
                    num_gpus=bundle.get("GPU", 0),
                    memory=bundle.get("memory"),
                    scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
                ).remote(key, rank=rank, config=config, runner=packed)
            self._write(key, made | {"state": "made"})
            self.news[key] = {"state": "pending", "reason": "Ray was asked for it."}

    def release(self, key, grace_s):
        with self.lock:
            record = self._record(key)
            if record is None:
                self._end(key, {"nodes": 0}, RELEASED)
            elif record["state"] in ("asked", "made"):
                self._write(key, record | {"state": "releasing", "until": time.time() + grace_s})
                for actor in filter(None, self._actors(key, record)):
                    actor.stop.remote(grace_s)

    def forget(self, key):
        with self.lock:
            record = self._record(key)
            if record is not None:
                self._clear(key, record)
                _internal_kv_del(key.encode(), namespace=self._store)
            self.news.pop(key, None)
            self._heard.discard(key)

    def look(self):
        """One round over all of ours; `news` is what it has seen."""
        with self.lock:
            keys = [key.decode() for key in _internal_kv_list(b"", namespace=self._store)]
            records = {key: record for key in keys if (record := self._record(key)) is not None}
            groups = {group["name"]: group for group in placement_group_table().values() if group["state"] != "REMOVED"}
            asked = {key: self._ask(key, r) for key, r in records.items() if r["state"] in ("made", "releasing")}
            refs = [ref for answers in asked.values() for ref in answers if ref is not None]
            if refs:
                ray.wait(refs, num_returns=len(refs), timeout=LOOK_S)
            self.news = {key: self._judge(key, r, asked.get(key), groups.get(key)) for key, r in records.items()}

    def _ask(self, key, record):
        return [None if actor is None else actor.look.remote() for actor in self._actors(key, record)]

    def _judge(self, key, record, asked, group):
        if record["state"] == "ended":
            return {"state": "ended", "reason": record["reason"]}
        if record["state"] == "asked":
            return {"state": "pending", "reason": "Ray is asked for it."}
        answers = [_answer(ref) for ref in asked]
        ends = [answer for answer in answers if answer is not None and answer["state"] == "ended"]
        is_waiting = group is not None and group["state"] == "PENDING"
        if record["state"] == "releasing":
            if is_waiting or len(ends) == len(answers) or time.time() > record["until"] + STUCK_S:
                return self._end(key, record, record.get("why", RELEASED))
        elif ends:  # what one node has lost, none of the others goes on with
            if len(ends) == len(answers):
                return self._end(key, record, ends[0]["reason"])
            self._write(key, record | {"state": "releasing", "until": time.time(), "why": ends[0]["reason"]})
        if None not in answers and not ends:
            self._heard.add(key)
            return {"state": "up", "reason": ""}
        if is_waiting:
            return {"state": "pending", "reason": _why(group, record)}
        return {"state": "unknown" if key in self._heard else "pending", "reason": "Ray starts its actors."}

    def _end(self, key, record, reason):
        """Nothing keeps a node busy any more, then it is written down."""
        self._clear(key, record)
        self._write(key, {"state": "ended", "nodes": 0, "reason": reason})
        self.news[key] = {"state": "ended", "reason": reason}
        return self.news[key]

    def _clear(self, key, record):
        for actor in filter(None, self._actors(key, record)):
            ray.kill(actor)
        if (group := self._group(key)) is not None:
            remove_placement_group(group)

    def _actors(self, key, record):
        """By rank; None where there is none (any more)."""
        return [self._actor(f"{key}.{rank}") for rank in range(record["nodes"])]

    def _actor(self, name):
        try:
            return ray.get_actor(name, namespace=self._namespace)
        except ValueError:
            return None

    def _group(self, key):
        try:
            return get_placement_group(key)
        except ValueError:
            return None

    def _record(self, key):
        found = _internal_kv_get(key.encode(), namespace=self._store)
        return None if found is None else json.loads(found)

    def _write(self, key, record):
        _internal_kv_put(key.encode(), json.dumps(record).encode(), True, namespace=self._store)


def _answer(ref):
    """What an actor said; that it has ended where it is gone; None where it has not answered."""
    if ref is None:
        return {"state": "ended", "reason": "Its Ray actor is gone."}
    try:
        return ray.get(ref, timeout=0)
    except GetTimeoutError:
        return None
    except RayError as error:
        return {"state": "ended", "reason": f"Its node or actor was lost: {str(error).splitlines()[0]}"}


def _why(group, record):
    bundle = record["bundle"]
    need = f"{bundle.get('CPU', 0):g} CPUs, {bundle.get('memory', 0) / 2**30:.1f} GiB, {bundle.get('GPU', 0)} GPUs"
    nodes = f"{record['nodes']} node{'s' * (record['nodes'] > 1)} with {need} each"
    if group.get("stats", {}).get("scheduling_state") == "INFEASIBLE":
        return f"The Ray cluster has no {nodes}, free or not."
    return f"The Ray cluster has no {nodes} free now."
