"""Tables, JSON, YAML."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ultramarine.cli.output import Column, ago, ahead, bare, details, show, size, table
from ultramarine.domain.errors import InvalidInput

ROWS: list[dict[str, Any]] = [
    {"name": "first", "nodes": {"total": 2}, "reason": "It waits for a node with 4 CPUs, and none has so many."},
    {"name": "second", "nodes": {}, "reason": None},
]
COLUMNS = (Column("name", "name"), Column("nodes", "nodes.total"), Column("reason", "reason"))


def test_a_table_has_a_line_for_each_thing():
    assert table(ROWS, COLUMNS, width=200).splitlines() == [
        "NAME    NODES  REASON",
        "first   2      It waits for a node with 4 CPUs, and none has so many.",
        "second",
    ]


def test_a_name_is_never_cut_since_it_is_typed_in_the_next_command():
    name = "upbeat_sail_gd8hsjn4s2"
    made = table([{"name": name, "nodes": {"total": 1}, "reason": "x" * 50}], COLUMNS, width=40)
    assert name in made
    assert max(len(line) for line in made.splitlines()) <= 40


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_a_table_fits_the_terminal_and_shows_where_it_was_cut(width: int):
    made = table(ROWS, COLUMNS, width=width)
    assert max(len(line) for line in made.splitlines()) <= width
    assert ("…" in made) == (width < 70)


def test_a_line_break_in_a_cell_does_not_break_the_table():
    assert len(table([{"name": "a", "reason": "one\ntwo"}], COLUMNS, width=80).splitlines()) == 2


def test_details_leave_out_what_is_empty_and_indent_what_is_nested():
    view = {"name": "a", "reason": "", "nodes": {"total": 2, "busy": 0}, "tags": {}, "tail": "one\ntwo"}
    assert details(view).splitlines() == ["name   a", "nodes", "  total  2", "  busy   0", "tail   one", "       two"]


def test_prose_is_wrapped_between_words_and_what_is_copied_stays_whole():
    digest = "0123456789abcdef" * 4
    made = details({"reason": "one two three four five six seven", "code": digest}, width=30).splitlines()
    assert made == ["reason  one two three four", "        five six seven", f"code    {digest}"]


@pytest.mark.parametrize(
    ("form", "query", "printed"),
    [
        ("json", "[0].name", '"first"\n'),
        ("yaml", "[].name", "- first\n- second\n"),
        ("tsv", None, "first\t2\tIt waits for a node with 4 CPUs, and none has so many.\nsecond\t\t\n"),
        ("tsv", "[].name", "first\nsecond\n"),
        ("tsv", "[].[name, nodes]", 'first\t{"total":2}\nsecond\t{}\n'),
        ("tsv", "[?nodes.total].{total: nodes.total, who: name}", "2\tfirst\n"),
        ("tsv", "[0].nodes.total", "2\n"),
        ("tsv", "[?name=='third'].name", ""),
        ("tsv", "[0].{a: `true`, b: `null`, c: `1.5`}", "true\t\t1.5\n"),
        ("table", "[].name", "first\nsecond\n"),
        ("table", "[?nodes.total > `1`].{who: name}", "WHO\nfirst\n"),
        ("table", "[5]", ""),
    ],
)
def test_a_query_picks(form: str, query: str | None, printed: str, capsys: pytest.CaptureFixture[str]):
    show(ROWS, COLUMNS, form=form, query=query)
    assert capsys.readouterr().out == printed


def test_a_query_that_is_none_is_refused():
    with pytest.raises(InvalidInput, match="--query"):
        show(ROWS, COLUMNS, form="json", query="[")


def test_json_is_what_no_terminal_gets(capsys: pytest.CaptureFixture[str]):
    show([{"a": "ü"}], (), form=None, query=None)
    assert capsys.readouterr().out == '[\n  {\n    "a": "ü"\n  }\n]\n'


def test_what_others_wrote_does_not_steer_the_terminal():
    wild = "red\x1b[31m, back\r, bell\a"
    assert details({"reason": wild}) == "reason  red·[31m, back·, bell·"
    assert "\x1b" not in table([{"name": "a", "reason": wild}], COLUMNS, width=80)


def test_amounts_are_written_for_people():
    assert [size(n) for n in (0, 1023, 1536, 3 * 1024**3, None)] == ["0 B", "1023 B", "1.5 KiB", "3.0 GiB", ""]
    assert bare("azureml:local") == "local"
    assert ago("2020-01-01T00:00:00+00:00").endswith(" d")
    assert ago(None) == ""
    assert ahead((datetime.now(UTC) + timedelta(seconds=90)).isoformat()) == "in 1 min"
    assert (ahead("2020-01-01T00:00:00+00:00"), ahead(None)) == ("in 0 s", "")


def test_a_row_of_tsv_is_one_line_whatever_was_written(capsys: pytest.CaptureFixture[str]):
    show([{"a": "one\ntwo\tthree\x1b[2J", "b": ["x", "y\n"]}], (), form="tsv", query=None)
    assert capsys.readouterr().out == 'one two three·[2J\t["x","y\\n"]\n'
