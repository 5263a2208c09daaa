"""Allocations on a Ray cluster: placement groups and actors under our keys, and a record of each in Ray's own store.

The records tell what Ray forgets: that an allocation was made once, or has ended. All of it is in the cluster, so
another engine finds it.
"""

import json
import threading
import time

import agent
import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import ActorDiedError, ActorUnschedulableError, GetTimeoutError, RayError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_list,
    _internal_kv_put,
)
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

LOOK_S = 1.0  #: that actors have to answer
SWEEP_S = 20.0  #: that a node has to sweep; then it is asked anew, for the answer may have been lost
STUCK_S = 5.0  #: after its grace an actor that does not tell of its runner's end is killed with it
OVER_S = 60.0  #: after its grace what is released is over, whether or not Ray tells of its end
RELEASED = "Released."
GONE = "Its Ray actor is gone."


class Severed(Exception):
    """The node of Ray that this process has joined is gone.

    What goes through the head is answered all the same; tasks, and what Ray tells of actors, are waited for for ever.
    """


class Cluster:
    def __init__(self, address, namespace, node):
        """`node`: the IP address of the node to join through; empty: any that is on this machine.

        Without a word Ray takes any raylet that it finds here while the head's own one still starts.
        """
        self.lock = threading.Lock()
        self.news = {}  #: by key, what was seen last
        self._namespace, self._store = namespace, namespace.encode()
        self._heard = set()  #: keys whose actors have answered once
        self._sweeps = {}  #: by key, what cleans up after an actor that is gone, and until when it may take
        ray.cloudpickle.register_pickle_by_value(agent)
        said = {"log_to_driver": False, "logging_level": "warning", **({"_node_ip_address": node} if node else {})}
        ray.init(address=address, namespace=namespace, **said)
        self._at = ray.get_runtime_context().get_node_id()
        self._agent, self._sweep = ray.remote(agent.Agent), ray.remote(agent.sweep)

    def allocate(self, key, *, config, bundle, runner, lease_s):
        """`bundle`: what it gives, in Ray's words; `runner`: the packed runner's path."""
        with self.lock:
            made = {"state": "asked", "bundle": bundle}
            _internal_kv_put(key.encode(), json.dumps(made).encode(), False, namespace=self._store)
            if self._record(key)["state"] != "asked":
                return
            group = self._group(key) or placement_group([bundle], name=key, lifetime="detached")
            with open(runner, "rb") as file:
                packed = file.read()
            self._agent.options(
                name=key,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=0,
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                memory=bundle.get("memory"),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
            ).remote(key, config=config, runner=packed, lease_s=lease_s)
            self._write(key, made | {"state": "made"})
            self.news[key] = {"state": "pending", "reason": "Ray was asked for it."}

    def release(self, key, grace_s):
        with self.lock:
            record = self._record(key)
            if record is None:
                self._end(key, RELEASED)
            elif record["state"] in ("asked", "made"):
                self._write(key, record | {"state": "releasing", "until": time.time() + grace_s})
                if (actor := self._actor(key)) is not None:
                    actor.stop.remote(grace_s)

    def forget(self, key):
        with self.lock:
            if self._record(key) is not None:
                self._clear(key)
                _internal_kv_del(key.encode(), namespace=self._store)
            self.news.pop(key, None)
            self._heard.discard(key)

    def look(self):
        """One round over all of ours; `news` is what it has seen. Raises `Severed`."""
        with self.lock:
            nodes = Nodes.now()
            if self._at not in nodes.alive:
                raise Severed(f"Node {self._at[:8]} of Ray, through which it asks, is gone.")
            keys = [key.decode() for key in _internal_kv_list(b"", namespace=self._store)]
            records = {key: record for key in keys if (record := self._record(key)) is not None}
            groups = {group["name"]: group for group in placement_group_table().values() if group["state"] != "REMOVED"}
            asked = {key: self._ask(key) for key, record in records.items() if record["state"] in ("made", "releasing")}
            refs = [ref for ref in asked.values() if ref is not None]
            if refs:
                ray.wait(refs, num_returns=len(refs), timeout=LOOK_S)
            for key, record in records.items():
                self._locate(key, record, groups.get(key))
                said = _answer(asked[key]) if key in asked else None
                self.news[key] = self._judge(key, record, said, groups.get(key), nodes)
            for key in set(self.news) - set(records):
                del self.news[key]

    def _ask(self, key):
        actor = self._actor(key)
        return None if actor is None else actor.look.remote()

    def _locate(self, key, record, group):
        """Write down on which node it is: when that one is lost, Ray gives its group another, which has nothing."""
        at = None if group is None else (group.get("bundles_to_node_id") or {}).get(0)
        if at and "at" not in record and record["state"] in ("made", "releasing"):
            record["at"] = at
            self._write(key, record)

    def _judge(self, key, record, said, group, nodes):
        """`said`: by its actor: why it has ended, "" when it lives; `GONE`; None: no answer."""
        is_waiting = group is not None and group["state"] == "PENDING" and "at" not in record
        is_late = record["state"] == "releasing" and time.time() > record["until"] + STUCK_S
        if record["state"] == "ended":
            return {"state": "ended", "reason": record["reason"]}
        if record["state"] == "asked":
            return {"state": "pending", "reason": "Ray is asked for it."}
        if record["state"] == "releasing" and (is_waiting or time.time() > record["until"] + OVER_S):
            return self._end(key, RELEASED)  # a runner that lives on is turned away when it asks what to do
        if said is GONE:
            return self._without_actor(key, record, nodes, is_late=is_late)
        if said:
            return self._end(key, RELEASED if record["state"] == "releasing" else said)
        if is_late and (actor := self._actor(key)) is not None:
            ray.kill(actor)  # its runner goes with it
        if said == "":
            self._heard.add(key)
            return {"state": "up", "reason": ""}
        if is_waiting:
            return {"state": "pending", "reason": nodes.why_not(record["bundle"], group)}
        # It has a machine: from here on it is for its runner to say hello in time, whatever Ray knows of its actor.
        has_begun = key in self._heard or "at" in record
        return {"state": "unknown" if has_begun else "pending", "reason": "Ray starts its actor."}

    def _without_actor(self, key, record, nodes, *, is_late):
        """That its actor is gone does not say that its runner is: its node is asked to sweep.

        A node that Ray takes for dead may be one that is cut off, and works on. Then the lease decides, as it does for
        every silent node: what is released is over.
        """
        at = record.get("at")
        if at is None or (is_late and at not in nodes.alive):
            return self._end(key, RELEASED if record["state"] == "releasing" else GONE)
        if at not in nodes.alive:
            self._sweeps.pop(key, None)
            return {"state": "unknown", "reason": "Ray takes its node for dead, or it is cut off."}
        if key not in self._sweeps:
            there = NodeAffinitySchedulingStrategy(at, soft=False)
            asked = self._sweep.options(num_cpus=0, scheduling_strategy=there).remote(key)
            self._sweeps[key] = asked, time.monotonic() + SWEEP_S
        swept, until = self._sweeps[key]
        try:
            ray.get(swept, timeout=0)
        except GetTimeoutError:
            if time.monotonic() > until:
                ray.cancel(swept, force=True)
                del self._sweeps[key]
            return {"state": "unknown", "reason": "What its actor has left on its node is being ended."}
        except RayError as error:  # something that was killed lives on, or the node is gone by now
            del self._sweeps[key]
            return {"state": "unknown", "reason": str(error).splitlines()[-1]}
        return self._end(key, RELEASED if record["state"] == "releasing" else GONE)

    def _end(self, key, reason):
        """Nothing keeps a node busy any more, then it is written down."""
        self._clear(key)
        self._sweeps.pop(key, None)
        self._write(key, {"state": "ended", "reason": reason})
        self.news[key] = {"state": "ended", "reason": reason}
        return self.news[key]

    def _clear(self, key):
        if (actor := self._actor(key)) is not None:
            ray.kill(actor)
        if (group := self._group(key)) is not None:
            remove_placement_group(group)

    def _actor(self, key):
        """None where there is none (any more)."""
        try:
            return ray.get_actor(key, namespace=self._namespace)
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


class Nodes:
    """The nodes of Ray, and what is free there. `free`: by node, what is left of what it has."""

    def __init__(self, alive, free):
        self.alive, self.free = alive, free

    @classmethod
    def now(cls):
        alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        return cls(alive, available_resources_per_node() if alive else {})

    def why_not(self, bundle, group):
        """Why a group waits."""
        fit = sum(all(has.get(name, 0) >= value for name, value in bundle.items()) for has in self.alive.values())
        if group.get("stats", {}).get("scheduling_state") == "INFEASIBLE" or not fit:
            most = {name: max((has.get(name, 0) for has in self.alive.values()), default=0) for name in bundle}
            return f"Ray has no node with {in_words(bundle)}, free or not: the most that one has is {in_words(most)}."
        short = [name for name, value in bundle.items() if all(f.get(name, 0) < value for f in self.free.values())]
        missing = in_words({name: bundle[name] for name in short or bundle})
        return (
            f"Ray has no node with {missing} free now: {fit} of its nodes {'has' if fit == 1 else 'have'} it, in use."
        )


def in_words(amount):
    """`{"CPU": 4, "memory": 2**30}` -> "4 CPUs, 1.0 GiB"."""
    words = []
    if cpus := amount.get("CPU"):
        words.append(f"{cpus:g} CPU{'s' * (cpus != 1)}")
    if memory := amount.get("memory"):
        words.append(f"{memory / 2**30:.1f} GiB")
    if "GPU" in amount:
        words.append(f"{amount['GPU']:g} GPU{'s' * (amount['GPU'] != 1)}")
    return ", ".join(words)


def _answer(ref):
    """What an actor said; `GONE` where Ray is sure that its process is; None where it has not answered."""
    if ref is None:
        return GONE
    try:
        return ray.get(ref, timeout=0)
    except (ActorDiedError, ActorUnschedulableError):
        return GONE
    except (GetTimeoutError, RayError):  # not now, or it cannot tell: that is no end
        return None
