"""docs/reference/cli.md says what the program does."""

from tools.write_cli_reference import PAGE, page


def test_the_reference_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python tools/write_cli_reference.py"
