import subprocess
import sys
import zipfile
from pathlib import Path

from ultramarine.drivers import pyz


def test_equal_sources_give_an_equal_file(tmp_path: Path):
    one, other = pyz.serving(tmp_path / "one"), pyz.serving(tmp_path / "other")
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_building_again_leaves_the_file_alone(tmp_path: Path):
    before = pyz.serving(tmp_path).stat()
    assert pyz.serving(tmp_path).stat().st_ino == before.st_ino
    assert [path.suffix for path in tmp_path.iterdir()] == [".zip"]


def test_the_file_holds_the_http_layer_and_the_scoring_server_only(tmp_path: Path):
    names = zipfile.ZipFile(pyz.serving(tmp_path)).namelist()
    assert {"__main__.py", "ultramarine_serving/http/server.py", "ultramarine_serving/scoring/app.py"} <= set(names)
    assert not [name for name in names if "gateway" in name or "pack" in name or "__pycache__" in name]


def test_the_file_says_how_it_is_called(tmp_path: Path):
    shown = subprocess.run(
        [sys.executable, str(pyz.serving(tmp_path)), "--help"], capture_output=True, text=True, check=True
    )
    assert "--model-dir" in shown.stdout
