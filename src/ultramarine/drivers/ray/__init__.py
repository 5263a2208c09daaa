"""Nodes of a Ray cluster. Ray itself is in a process of its own, in an environment of its own."""

from ultramarine.drivers.ray.autoscaling import Autoscaling
from ultramarine.drivers.ray.driver import RayDriver
from ultramarine.drivers.ray.fleet import machines, read
from ultramarine.drivers.ray.places import Places
from ultramarine.drivers.ray.process import EngineSettings, keep

__all__ = ["Autoscaling", "EngineSettings", "Places", "RayDriver", "keep", "machines", "read"]
