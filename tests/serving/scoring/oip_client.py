"""Talks to a server with the protocol's own client, in the models' environment; prints what it saw as JSON."""

# The libraries are those of the models' environment, which the checker does not see.
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import json
import sys

import numpy
import tritonclient.http as client
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

VALUES = {
    "BOOL": numpy.array([[True, False], [False, True]]),
    "INT8": numpy.array([-128, 127], dtype="int8"),
    "INT16": numpy.array([-32768, 32767], dtype="int16"),
    "INT32": numpy.array([-(2**31), 2**31 - 1], dtype="int32"),
    "INT64": numpy.array([-(2**63), 2**63 - 1], dtype="int64"),
    "UINT8": numpy.array([[[0]], [[255]]], dtype="uint8"),
    "UINT16": numpy.array([0, 65535], dtype="uint16"),
    "UINT32": numpy.array([0, 2**32 - 1], dtype="uint32"),
    "UINT64": numpy.array([0, 2**64 - 1], dtype="uint64"),
    "FP16": numpy.array([0.5, -65504, numpy.inf], dtype="float16"),
    "FP32": numpy.array([0.1, numpy.nan, -numpy.inf], dtype="float32"),
    "FP64": numpy.array([0.1, numpy.nan, 1e300]),
    "BYTES": numpy.array(["", "a", "größe"], dtype=object),
}
NO_JSON = {"FP16", "FP32", "FP64"}  # infinities have none


def tensor(name, array, *, is_binary):
    made = client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, binary_data=is_binary)
    return made


def echo(server):
    """Which datatypes came back as they went, in each way of writing them."""
    seen = {}
    for way, is_binary in (("binary", True), ("json", False)):
        for name, array in VALUES.items():
            if name in NO_JSON and not is_binary:
                array = array[:1].astype("float32" if name == "FP32" else "float64")
            wanted = [client.InferRequestedOutput("x", binary_data=is_binary)]
            other = tensor("y", VALUES["INT8"], is_binary=not is_binary)  # a single one has no name for the model
            given = [tensor("x", array, is_binary=is_binary), other]
            result = server.infer("m", given, outputs=wanted, request_id="7")
            back = result.as_numpy("x")
            if name == "BYTES":
                back = numpy.array([each.decode() if isinstance(each, bytes) else each for each in back], dtype=object)
                same = back.tolist() == array.tolist()
            else:
                same = back.dtype == array.dtype and numpy.array_equal(back, array, equal_nan=array.dtype.kind == "f")
            seen[f"{name} {way}"] = bool(same) and result.get_response()["id"] == "7"
    several = [tensor("a", VALUES["INT8"], is_binary=True), tensor("b", VALUES["FP64"], is_binary=False)]
    result = server.infer("m", several)
    seen["two inputs"] = sorted(output["name"] for output in result.get_response()["outputs"]) == ["a", "b"]
    return seen


def forest(server, rows):
    """What the server says of itself, and predicts for the rows."""
    table = numpy.array(rows)
    by_rows = server.infer("m", [tensor("rows", table, is_binary=True)], model_version="3")
    columns = [column["name"] for column in server.get_model_metadata("m")["inputs"]]
    by_columns = server.infer(
        "m", [tensor(name, table[:, [place]], is_binary=True) for place, name in enumerate(columns)]
    )
    return {
        "live": server.is_server_live(),
        "ready": server.is_server_ready(),
        "model ready": [server.is_model_ready("m"), server.is_model_ready("m", "3"), server.is_model_ready("m", "4")],
        "server": server.get_server_metadata(),
        "model": server.get_model_metadata("m", "3"),
        "by rows": by_rows.as_numpy("predict").tolist(),
        "by columns": by_columns.as_numpy("predict").tolist(),
        "refused": [
            refusal(server, "m", [tensor("rows", table[:, :2], is_binary=True)]),
            refusal(server, "other", [tensor("rows", table, is_binary=True)]),
        ],
    }


def refusal(server, model, tensors):
    try:
        server.infer(model, tensors)
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return []


address, what = sys.argv[1:3]
talk = client.InferenceServerClient(address)
print(json.dumps(echo(talk) if what == "echo" else forest(talk, json.loads(sys.argv[3]))))
