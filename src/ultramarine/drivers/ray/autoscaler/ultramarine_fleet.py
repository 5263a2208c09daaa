"""The provider that Ray's autoscaler sees: theirs, with our head among its nodes, and its failures told and spaced.

It runs in Ray's own environment, in the autoscaler's process. Ray starts nothing where a provider does not list the
head, and none of its own providers knows ours, which is no machine of theirs. What a provider says when it fails
reaches a log alone, and Ray tries again within a second.
"""

import collections
import contextlib
import json
import os
import threading
import time

from ray.autoscaler._private.providers import _get_node_provider_cls
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    STATUS_UPDATE_FAILED,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

HEAD = os.environ.get("RAY_CLOUD_INSTANCE_ID", "head")
HEAD_TAGS = {
    TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
    TAG_RAY_USER_NODE_TYPE: "head",
    TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
}
REST_S, REST_S_MAX = 5.0, 300.0  #: between a failed start and the next try; doubled each time
WORDS_MAX = 500


class Provider(NodeProvider):
    """Around a provider of theirs, which knows nothing of the head, nor that it is watched."""

    def __init__(self, provider_config, cluster_name):
        super().__init__(provider_config, cluster_name)
        inner = provider_config["inner"]
        self.inner = _get_node_provider_cls(inner)(inner, cluster_name)
        self.book = Book(provider_config["state"])
        self.head_address = inner["ultramarine"]["head"].rpartition(":")[0]
        self.has_updaters = not inner.get("disable_node_updaters", False)

    def non_terminated_nodes(self, tag_filters):
        try:
            found = list(self.inner.non_terminated_nodes(tag_filters))
            if not tag_filters:
                self.book.saw(collections.Counter(self.type_of(id) for id in found))
        except Exception as error:
            self.book.troubled(error)
            raise
        return found + ([HEAD] if tag_filters.items() <= HEAD_TAGS.items() else [])

    def create_node_with_resources_and_labels(self, node_config, tags, count, *asked):
        """`asked`: the resources and labels of the node type."""
        node_type = tags[TAG_RAY_USER_NODE_TYPE]
        with self.book.launching(node_type, count):
            made = self.inner.create_node_with_resources_and_labels(node_config, tags, count, *asked)
        if not self.has_updaters:
            self.book.succeeded(node_type)
        return made

    def set_node_tags(self, node_id, tags):
        if node_id == HEAD:
            return
        self.inner.set_node_tags(node_id, tags)
        if tags.get(TAG_RAY_NODE_STATUS) == STATUS_UPDATE_FAILED:
            words = f"the commands on machine {node_id} failed: see HOME/logs/ray-head.log"
            self.book.failed(self.type_of(node_id), words)
        elif tags.get(TAG_RAY_NODE_STATUS) == STATUS_UP_TO_DATE:
            self.book.succeeded(self.type_of(node_id))

    def terminate_node(self, node_id):
        return None if node_id == HEAD else self.inner.terminate_node(node_id)

    def terminate_nodes(self, node_ids):
        return self.inner.terminate_nodes([id for id in node_ids if id != HEAD])

    def node_tags(self, node_id):
        return dict(HEAD_TAGS) if node_id == HEAD else self.inner.node_tags(node_id)

    def is_running(self, node_id):
        return node_id == HEAD or self.inner.is_running(node_id)

    def is_terminated(self, node_id):
        return node_id != HEAD and self.inner.is_terminated(node_id)

    def internal_ip(self, node_id):
        return self.head_address if node_id == HEAD else self.inner.internal_ip(node_id)

    def external_ip(self, node_id):
        return self.head_address if node_id == HEAD else self.inner.external_ip(node_id)

    def get_command_runner(self, *arguments, **named):
        return self.inner.get_command_runner(*arguments, **named)

    def safe_to_scale(self):
        return self.inner.safe_to_scale()

    def type_of(self, node_id):
        return self.inner.node_tags(node_id).get(TAG_RAY_USER_NODE_TYPE, "")


class Book:
    """What is known of each node type, kept in a file that the control plane reads."""

    def __init__(self, path):
        self._path, self._lock = path, threading.RLock()
        self._said = {"at": 0.0, "problem": "", "nodes": {}, "launching": {}, "failed": {}}
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            self._said["failed"] = json.load(file)["failed"]

    def saw(self, nodes):
        self._tell(at=time.time(), problem="", nodes=dict(nodes))

    def troubled(self, error):
        self._tell(at=time.time(), problem=words_of(error))

    @contextlib.contextmanager
    def launching(self, node_type, count):
        """Around a start: it waits where the last one has failed, and counts meanwhile as under way."""
        rest_s = self._said["failed"].get(node_type, {}).get("again_at", 0.0) - time.time()
        time.sleep(max(0.0, rest_s))
        self._count(node_type, count)
        try:
            yield
        except Exception as error:
            self.failed(node_type, words_of(error))
            raise
        finally:
            self._count(node_type, -count)

    def succeeded(self, node_type):
        with self._lock:
            if node_type in self._said["failed"]:
                self._tell(failed={kind: each for kind, each in self._said["failed"].items() if kind != node_type})

    def failed(self, node_type, words):
        with self._lock:
            times = self._said["failed"].get(node_type, {}).get("times", 0) + 1
            again_at = time.time() + min(REST_S_MAX, REST_S * 2 ** (times - 1))
            new = {"words": words, "times": times, "again_at": again_at}
            self._tell(failed={**self._said["failed"], node_type: new})

    def _count(self, node_type, count):
        with self._lock:
            there = self._said["launching"]
            self._tell(launching={**there, node_type: there.get(node_type, 0) + count})

    def _tell(self, **news):
        with self._lock:
            self._said.update(news)
            aside = f"{self._path}.{os.getpid()}"
            with open(aside, "w") as file:
                json.dump(self._said, file)
            os.replace(aside, self._path)


def words_of(error):
    """The first line of what a provider said, with the causes that it names."""
    said = []
    while error is not None and len(said) < 3:
        said.append((str(error).strip().splitlines() or [type(error).__name__])[0])
        error = error.__cause__
    return " – ".join(said)[:WORDS_MAX]
