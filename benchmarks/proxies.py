"""Our gateway, nginx and Envoy with the same job, each with one worker on one port.

One endpoint, two keys, a pin, weights, time-outs, retries of what was not sent, replicas that are taken out when they
fail.
"""

import getpass
import grp
import hashlib
import json
import os
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import children

KEYS = ("benchmark-key-one", "benchmark-key-two")
PATH = "/endpoints/default/cancer/score"
PIN = "azureml-model-deployment"
TIMEOUT_S = 5
SOURCE = Path(__file__).parents[1] / "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Percent and sockets by deployment. `idempotent`: what was sent may be sent again."""

    traffic: Mapping[str, int]
    replicas: Mapping[str, Sequence[Path]]
    idempotent: bool = False

    def without(self, gone: Path) -> "Routes":
        left = {name: [each for each in sockets if each != gone] for name, sockets in self.replicas.items()}
        return replace(self, replicas=left)


class Proxy(ABC):
    """One that runs. `publish` gives it other routes, as one would where it is in use."""

    name: str

    def __init__(self, folder: Path, port: int, routes: Routes) -> None:
        folder.mkdir(parents=True)
        self.folder, self.port = folder, port
        self._write(routes)
        with (folder / "log.txt").open("wb") as log:
            variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=variables, cwd=folder)

    @property
    def pids(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _write(self, routes: Routes) -> None: ...

    def publish(self, routes: Routes) -> None:
        self._write(routes)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _replace(self, name: str, text: str) -> None:
        """As a whole: whoever looks sees the old file or the new one."""
        beside = self.folder / f"{name}.new"
        beside.write_text(text)
        beside.rename(self.folder / name)


class Ours(Proxy):
    name = "gateway"
    _version = 0

    def _command(self) -> Sequence[str]:
        listener = {"host": "127.0.0.1", "port": self.port}
        config = {
            "listeners": {"api": listener},
            "table": str(self.folder / "routes.json"),
            "admin": str(self.folder / "a{worker}.sock"),
            "workers": 1,
        }
        (self.folder / "gateway.json").write_text(json.dumps(config))
        return (sys.executable, "-m", "ultramarine_serving.gateway", "--config", str(self.folder / "gateway.json"))

    def _write(self, routes: Routes) -> None:
        self._version += 1
        limits = {"max_concurrent": 1024, "request_timeout_s": TIMEOUT_S, "queue_max": 1024, "queue_wait_s": 0.5}
        limits["idempotent"] = routes.idempotent
        endpoint = {
            "keys_sha256": [hashlib.sha256(key.encode()).hexdigest() for key in KEYS],
            "traffic": routes.traffic,
            "deployments": {
                name: {**limits, "replicas": [{"id": s.stem, "address": f"unix:{s}", "probe": "/"} for s in sockets]}
                for name, sockets in routes.replicas.items()
            },
        }
        table = {"format": 3, "version": self._version, "endpoints": {"default/cancer": endpoint}}
        self._replace("routes.json", json.dumps(table))

    def publish(self, routes: Routes) -> None:
        self._write(routes)
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.folder / "a0.sock"))
            asking.sendall(b"POST /table HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
            while asking.recv(65536):
                pass


NGINX = """
user {user} {group};
worker_processes 1;
daemon off;
error_log stderr error;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  map $http_authorization $is_known {{ default 0; {keys} }}
  map ${pin} $where {{ default all; {pins} }}
  {upstreams}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location = {path} {{
      if ($is_known = 0) {{ return 403; }}
      proxy_pass http://$where/score;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Request-Id $request_id;
      proxy_next_upstream error timeout{again};
      proxy_read_timeout {timeout}s;
    }}
  }}
}}
"""


class Nginx(Proxy):
    """It chooses by smooth weights too; a weight stands at each replica. A request is sent again if it was not sent."""

    name = "nginx"
    program: Path

    def _command(self) -> Sequence[str]:
        return (str(self.program), "-p", str(self.folder), "-c", "nginx.conf")

    def _write(self, routes: Routes) -> None:
        there = {name: sockets for name, sockets in routes.replicas.items() if sockets}
        groups = {name: [(each, 1) for each in sockets] for name, sockets in there.items()}
        groups["all"] = [
            (each, routes.traffic[name] * 60 // len(sockets))
            for name, sockets in there.items()
            for each in sockets
            if routes.traffic.get(name)
        ]
        upstreams = "\n".join(
            f"upstream {name} {{ {' '.join(f'server unix:{s} weight={w} fail_timeout=1s;' for s, w in servers)} "
            "keepalive 64; keepalive_requests 1000000; }"
            for name, servers in groups.items()
        )
        text = NGINX.format(
            user=getpass.getuser(),
            group=grp.getgrgid(os.getgid()).gr_name,
            keys=" ".join(f'"Bearer {key}" 1;' for key in KEYS),
            pin=f"http_{PIN.replace('-', '_')}",
            pins=" ".join(f"{name} {name};" for name in there),
            upstreams=upstreams,
            port=self.port,
            path=PATH,
            timeout=TIMEOUT_S,
            again=" non_idempotent" if routes.idempotent else "",
        )
        self._replace("nginx.conf", text)

    def publish(self, routes: Routes) -> None:
        self._write(routes)
        subprocess.run([*self._command(), "-s", "reload"], cwd=self.folder, check=True, capture_output=True)


class Envoy(Proxy):
    """Routes and replicas are files that it watches."""

    name = "envoy"
    program: Path

    def _command(self) -> Sequence[str]:
        (self.folder / "envoy.json").write_text(json.dumps(_bootstrap(self.folder, self.port)))
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
        return (str(self.program), "-c", str(self.folder / "envoy.json"), *options)

    def _write(self, routes: Routes) -> None:
        for name in ("blue", "green"):
            self._replace(f"{name}.json", json.dumps(_resource(_endpoints(name, routes.replicas.get(name, ())))))
        self._replace("routes.json", json.dumps(_resource(_routes(routes))))


TYPE = "type.googleapis.com/envoy"


def _resource(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"resources": [value]}


def _endpoints(name: str, sockets: Sequence[Path]) -> Mapping[str, Any]:
    hosts = [{"endpoint": {"address": {"pipe": {"path": str(each)}}}} for each in sockets]
    return {
        "@type": f"{TYPE}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": hosts}],
    }


def _routes(routes: Routes) -> Mapping[str, Any]:
    known = [{"name": "authorization", "string_match": {"exact": f"Bearer {key}"}} for key in KEYS]
    weights = [{"name": name, "weight": share} for name, share in routes.traffic.items() if share]
    again = ",reset" if routes.idempotent else ""
    action = {
        "timeout": f"{TIMEOUT_S}s",
        "prefix_rewrite": "/score",
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream" + again,
            "num_retries": 2,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": "5",
        },
    }
    pinned = [
        {
            "match": {"path": PATH, "headers": [key, {"name": PIN, "string_match": {"exact": name}}]},
            "route": {"cluster": name, **action},
        }
        for name in routes.replicas
        for key in known
    ]
    spread = [
        {
            "match": {"path": PATH, "headers": [key]},
            "route": {"weighted_clusters": {"clusters": weights}, **action},
            "request_headers_to_remove": ["authorization"],
        }
        for key in known
    ]
    refused = {"match": {"prefix": "/"}, "direct_response": {"status": 403}}
    return {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*pinned, *spread, refused]}],
    }


def _watched(folder: Path, name: str) -> Mapping[str, Any]:
    return {
        "path_config_source": {"path": str(folder / name), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }


def _bootstrap(folder: Path, port: int) -> Mapping[str, Any]:
    many = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096, "max_retries": 64}
    clusters = [
        {
            "name": name,
            "type": "EDS",
            "eds_cluster_config": {"eds_config": _watched(folder, f"{name}.json")},
            "lb_policy": "LEAST_REQUEST",
            "connect_timeout": "3s",
            "circuit_breakers": {"thresholds": [many]},
            "outlier_detection": {"consecutive_gateway_failure": 5, "base_ejection_time": "1s"},
        }
        for name in ("blue", "green")
    ]
    manager = {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "rds": {"route_config_name": "routes", "config_source": _watched(folder, "routes.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "node": {"id": "benchmark", "cluster": "benchmark"},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }
