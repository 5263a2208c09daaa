import json

import pytest

from ultramarine_serving.scoring.mlmodel import Column, MLModelError, Tensor, parse

FLAVORS = {"python_function": {"loader_module": "mlflow.sklearn"}, "sklearn": {"pickled_model": "model.pkl"}}


def with_inputs(*entries: object) -> dict[str, object]:
    return {"flavors": FLAVORS, "signature": {"inputs": json.dumps(entries), "outputs": None}}


def test_columns_keep_their_order_and_whether_they_are_required():
    read = parse(
        with_inputs(
            {"type": "double", "name": "b", "required": True}, {"type": "string", "name": "a", "required": False}
        )
    )
    assert read.signature.columns == (
        Column(name="b", type="double", is_required=True),
        Column(name="a", type="string", is_required=False),
    )


def test_optional_columns_of_old_mlflow_versions_are_not_required():
    read = parse(with_inputs({"type": "double", "name": "a", "optional": True}))
    assert not read.signature.columns[0].is_required


def test_a_tensor_is_read_with_its_type_and_shape():
    read = parse(with_inputs({"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 30]}}))
    assert read.signature.tensors == (Tensor(name="", dtype="float32", shape=(-1, 30)),)


def test_a_model_without_a_signature_has_an_empty_one():
    assert parse({"flavors": FLAVORS}).signature.columns == ()


def test_the_known_flavour_is_preferred_to_python_function():
    assert parse({"flavors": FLAVORS}).flavor_to_load("auto") == "sklearn"


def test_an_unknown_flavour_is_loaded_by_python_function():
    flavors: dict[str, dict[str, str]] = {"python_function": {}, "pytorch": {}}
    assert parse({"flavors": flavors}).flavor_to_load("auto") == "python_function"


def test_a_flavour_that_the_model_lacks_is_refused_with_those_it_has():
    with pytest.raises(MLModelError, match=r"no flavour 'onnx'. It has: python_function, sklearn"):
        parse({"flavors": FLAVORS}).flavor_to_load("onnx")


def test_a_model_that_nothing_can_serve_says_what_to_do():
    with pytest.raises(MLModelError, match=r"only the flavours spacy.*score\.py"):
        parse({"flavors": {"spacy": {}}}).flavor_to_load("auto")


@pytest.mark.parametrize("document", [None, [], "text", {}, {"flavors": []}, {"flavors": {}}])
def test_what_is_no_mlmodel_is_refused(document: object):
    with pytest.raises(MLModelError, match="Save the model again"):
        parse(document)
