"""What a node says of itself: whether it is well."""

from pathlib import Path

from ultramarine_runner.machine import ails, load_now


def test_a_node_is_well_while_its_reserve_is_free(tmp_path: Path):
    assert ails([tmp_path, tmp_path], 0) == ""


def test_a_node_whose_disk_is_full_says_where_and_how_much(tmp_path: Path):
    assert f" MB free at {tmp_path}, of which 9000000000000 MB are kept free." in ails([tmp_path], 9 * 10**18)


def test_a_folder_that_is_gone_ails_as_well(tmp_path: Path):
    gone = tmp_path / "gone"
    assert ails([tmp_path, gone], 0) == f"its folder {gone} cannot be used: No such file or directory."


def test_each_report_tells_of_environments_that_are_whole(tmp_path: Path):
    def told() -> list[str]:
        return load_now(tmp_path, (), cache=tmp_path, reserve_bytes=0)["environments"]

    assert told() == []
    one, other = "ab" * 32, "01" * 32
    for name in (one, other, f".building-{one}-x", f".deleting-{one}"):
        (tmp_path / "environments" / name).mkdir(parents=True)
    (tmp_path / "environments" / f"{one}.used").touch()
    assert told() == ["01" * 8, "ab" * 8]


def test_it_is_part_of_each_report(tmp_path: Path):
    assert load_now(tmp_path, (), cache=tmp_path, reserve_bytes=9 * 10**18)["ails"].startswith("its disk is full")
