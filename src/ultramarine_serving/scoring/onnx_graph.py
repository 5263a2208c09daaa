"""A small writer of ONNX graphs, in double precision. Runs in the exporter only: it needs the package onnx."""

from __future__ import annotations

import importlib
from typing import Any

numpy: Any = importlib.import_module("numpy")
onnx: Any = importlib.import_module("onnx")
helper: Any = onnx.helper

INPUT = "rows"  #: what goes in: double, one row an input row
OUTPUT = "answers"  #: what comes out
OPSETS = {"": 18, "ai.onnx.ml": 5}  # 5: its TreeEnsemble sums in double, older ones give single precision
_IR_VERSION = 10  # as old as the operators allow, so that an older onnxruntime reads it too


class NotExportable(Exception):
    """A model that has no ONNX form which answers alike; the message says why."""


class Graph:
    """Nodes in the order in which they were added; every value has a name, which is handed around."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """One operator; the name of its only output."""
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def double(self, values: Any) -> str:
        """An array of constants."""
        return self._constant(numpy.asarray(values, dtype="float64"))

    def axes(self, *values: int) -> str:
        """A list of dimensions."""
        return self._constant(numpy.asarray(values, dtype="int64"))

    def cast(self, value: str, to: str) -> str:
        """`to` is onnx's word: FLOAT, DOUBLE, INT64."""
        return self.add("Cast", value, to=getattr(onnx.TensorProto, to))

    def finish(self, answers: str, *, columns: int) -> bytes:
        """The whole model; raises ValueError where onnx's own checker finds it wrong."""
        self._nodes.append(helper.make_node("Identity", [answers], [OUTPUT]))
        asked = helper.make_tensor_value_info(INPUT, onnx.TensorProto.DOUBLE, ["n", columns])
        answered = helper.make_empty_tensor_value_info(OUTPUT)
        graph = helper.make_graph(self._nodes, "scikit-learn", [asked], [answered], self._constants)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        )
        made.ir_version = _IR_VERSION
        return onnx.shape_inference.infer_shapes(made).SerializeToString()

    def _constant(self, array: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(numpy.ascontiguousarray(array), name))
        return name


def tensor(values: Any, dtype: str) -> Any:
    """Values as onnx's attribute of the type `dtype` (numpy's word)."""
    return onnx.numpy_helper.from_array(numpy.ascontiguousarray(values, dtype=dtype))
