import json
from typing import Any

import pytest

from ultramarine_serving.scoring.bodies import Arrays, BadBody, Table, decode

TABLE = Table(columns=("a", "b"), rows=[[1, 2.5], [3, None]])


def read(document: Any) -> Table | Arrays:
    return decode(json.dumps(document).encode()).input


@pytest.mark.parametrize(
    "document",
    [
        {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2.5], [3, None]]}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5], [3, None]]}},
        {"dataframe_records": [{"a": 1, "b": 2.5}, {"a": 3, "b": None}]},
        {"dataframe_records": [{"a": 1, "b": 2.5}, {"a": 3}]},
        {"instances": [{"a": 1, "b": 2.5}, {"a": 3}]},
    ],
)
def test_each_way_to_write_a_table_gives_the_same_table(document: Any):
    assert read(document) == TABLE


@pytest.mark.parametrize("key", ["input_data", "instances", "inputs"])
def test_a_list_of_rows_is_a_table_without_names(key: str):
    assert read({key: [[1, 2], [3, 4]]}) == Table(columns=None, rows=[[1, 2], [3, 4]])


@pytest.mark.parametrize("key", ["input_data", "inputs"])
def test_lists_by_name_are_named_arrays(key: str):
    assert read({key: {"x": [1, 2], "y": [[3], [4]]}}) == Arrays(named={"x": [1, 2], "y": [[3], [4]]})


def test_deeper_lists_are_an_array():
    assert read({"inputs": [[[1, 2]], [[3, 4]]]}) == Arrays(named={"": [[[1, 2]], [[3, 4]]]})


def test_an_input_called_data_among_others_is_a_named_array():
    assert read({"input_data": {"data": [1], "mask": [0]}}) == Arrays(named={"data": [1], "mask": [0]})


def test_columns_that_pandas_numbered_become_names():
    assert read({"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}}) == Table(columns=("0", "1"), rows=[[1, 2]])


def test_params_come_with_the_input():
    assert decode(b'{"inputs": [[1]], "params": {"times": 2}}').params == {"times": 2}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The body is empty. Send a JSON object with one of: input_data"),
        (b"{", "The body is not JSON"),
        (b'{"inputs": "\xff"}', "The body is not UTF-8: byte 12 is 0xff"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "The body is a JSON list. Send an object"),
        (b"{}", "The body has nothing. Send exactly one of: input_data"),
        (b'{"data": [[1]]}', "The body has data. Send exactly one of"),
        (b'{"inputs": [[1]], "instances": [[1]]}', "The body has instances, inputs. Send exactly one of"),
        (b'{"inputs": 1}', "inputs is a JSON number"),
        (b'{"inputs": {}}', "inputs is an empty object"),
        (b'{"inputs": [[1]], "params": 3}', "params is a JSON number"),
        (b'{"input_data": [[1, 2], [3]]}', "Row 1 of input_data has 1 values where 2 are expected"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "Row 0 of dataframe_split has 2 values where 1"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}', "has 'a' more than once"),
        (b'{"dataframe_split": {"columns": "a", "data": [[1]]}}', "columns of dataframe_split is a JSON string"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [1]}}', "Row 0 of dataframe_split is a JSON number"),
        (b'{"dataframe_split": {"columns": ["a"]}}', "no object with columns and data"),
        (b'{"dataframe_records": {"a": 1}}', "dataframe_records is a JSON object"),
        (b'{"dataframe_records": [1]}', "Row 0 of dataframe_records is a JSON number"),
    ],
)
def test_a_body_that_cannot_be_used_says_what_is_wrong(body: bytes, says: str):
    with pytest.raises(BadBody) as refused:
        decode(body)
    assert says in str(refused.value)
