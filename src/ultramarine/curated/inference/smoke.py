"""A pickled model answers through a function with the decorators of inference-schema; ONNX Runtime runs a model."""

import io

import joblib
import numpy as np
import onnxruntime
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema
from inference_schema.schema_util import get_input_schema
from sklearn.linear_model import LinearRegression

rows = pd.DataFrame({"area": [10.0, 20.0, 30.0], "rooms": [1, 2, 2]})
kept = io.BytesIO()
joblib.dump(LinearRegression().fit(rows, [1.0, 2.0, 3.0]), kept)
kept.seek(0)
model = joblib.load(kept)


@input_schema("data", PandasParameterType(rows.head(1)))
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data):
    return model.predict(data)


answer = run(data=rows.to_dict("records"))
assert np.allclose(answer, [1.0, 2.0, 3.0]), answer
assert "area" in str(get_input_schema(run)), get_input_schema(run)


def part(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def whole(number, value):
    return bytes([number << 3, value])


# The smallest model there is, as protobuf writes it: y = Identity(x), one float each. onnx is not here to do it.
float_1 = part(2, part(1, whole(1, 1) + part(2, part(1, whole(1, 1)))))
graph = part(1, part(1, b"x") + part(2, b"y") + part(4, b"Identity")) + part(2, b"g")
graph += part(11, part(1, b"x") + float_1) + part(12, part(1, b"y") + float_1)
session = onnxruntime.InferenceSession(whole(1, 8) + part(7, graph) + part(8, whole(2, 13)))
assert session.run(None, {"x": np.array([7.0], np.float32)})[0] == [7.0]
