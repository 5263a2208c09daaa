"""Each of its packages is there; they need numpy, which comes from the environment that it stands behind."""

from importlib import metadata, util

import google.protobuf
import packaging.version

assert google.protobuf.__version__ == metadata.version("protobuf")
assert packaging.version.parse(metadata.version("onnxruntime")) >= packaging.version.parse("1.23")
assert all(util.find_spec(name) for name in ("onnx", "onnxruntime", "ml_dtypes"))
