"""The site's configuration is read as pip reads it; uv's variables win."""

import logging
from pathlib import Path
from typing import Protocol

import pytest

from ultramarine.locks.site import SiteOptions, site_options


class Read(Protocol):
    def __call__(self, files: dict[str, str] | None = None, **environ: str) -> SiteOptions: ...


@pytest.fixture
def site(tmp_path: Path) -> Read:
    """Read options with the files and variables given."""

    def read(files: dict[str, str] | None = None, **environ: str) -> SiteOptions:
        for path, text in (files or {}).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return site_options({"HOME": str(tmp_path / "home"), **environ}, prefix=tmp_path / "venv", root=tmp_path)

    return read


def pip_conf(section: str = "global", **settings: str) -> str:
    return f"[{section}]\n" + "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in settings.items())


def test_without_any_configuration_there_is_nothing_to_say(site: Read):
    assert site() == SiteOptions()


LAYERS = ["etc/xdg/pip/pip.conf", "etc/pip.conf", "home/.pip/pip.conf", "home/.config/pip/pip.conf", "venv/pip.conf"]


@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_of_pip_s_files_the_nearest_counts(site: Read, strongest: int):
    files = {path: pip_conf(index_url=f"https://{number}/") for number, path in enumerate(LAYERS[: strongest + 1])}
    assert site(files).index_url == f"https://{strongest}/"


def test_an_install_section_beats_every_global_one_and_a_variable_beats_both(site: Read):
    files = {
        "etc/pip.conf": pip_conf("install", index_url="https://install/"),
        "venv/pip.conf": pip_conf(index_url="https://global/"),
    }
    assert site(files).index_url == "https://install/"
    assert site(files, PIP_INDEX_URL="https://variable/").index_url == "https://variable/"


def test_uv_s_variables_win(site: Read):
    files = {
        "etc/pip.conf": pip_conf(
            index_url="https://a/", extra_index_url="https://b/ https://c/", find_links="https://d/", cert="/a.pem"
        )
    }
    assert site(files).extra_index_urls == ("https://b/", "https://c/")
    found = site(
        files,
        UV_DEFAULT_INDEX="https://u/",
        UV_INDEX="n=https://v/ https://w/",
        UV_FIND_LINKS="https://x/,https://y/",
        SSL_CERT_FILE="/u.pem",
    )
    assert found.index_url == "https://u/"
    assert found.extra_index_urls == ("n=https://v/", "https://w/")
    assert found.find_links == ("https://x/", "https://y/")
    assert found.cert == "/u.pem"


def test_a_config_file_named_by_variable_replaces_the_user_s_and_the_null_device_all(site: Read, tmp_path: Path):
    files = {
        "home/.config/pip/pip.conf": pip_conf(index_url="https://user/", cert="/user.pem"),
        "named.conf": pip_conf(index_url="https://named/"),
    }
    found = site(files, PIP_CONFIG_FILE=str(tmp_path / "named.conf"))
    assert (found.index_url, found.cert) == ("https://named/", None)
    assert site(files, PIP_CONFIG_FILE="/dev/null") == SiteOptions()


def test_xdg_config_home_is_where_the_user_s_file_lies(site: Read, tmp_path: Path):
    found = site(
        {"elsewhere/pip/pip.conf": pip_conf(index_url="https://x/")}, XDG_CONFIG_HOME=str(tmp_path / "elsewhere")
    )
    assert found.index_url == "https://x/"


def test_folders_that_do_not_exist_are_left_out_with_a_warning(
    site: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    there = tmp_path / "there"
    there.mkdir()
    found = site(
        PIP_EXTRA_INDEX_URL=f"file://{there} file:///nowhere/simple https://x/",
        PIP_FIND_LINKS=f"/nowhere/links {there}",
    )
    assert found.extra_index_urls == (f"file://{there}", "https://x/")
    assert found.find_links == (str(there),)
    assert "file:///nowhere/simple" in caplog.text
    assert "/nowhere/links" in caplog.text


def test_a_file_that_pip_could_not_read_is_left_out_with_a_warning(site: Read, caplog: pytest.LogCaptureFixture):
    assert site({"etc/pip.conf": "no section = here\n"}) == SiteOptions()
    assert "pip.conf is not read" in caplog.text


def test_names_may_be_written_with_underscores_and_dashes(site: Read):
    assert site({"etc/pip.conf": "[global]\nindex_url = https://x/\n--trusted-host = a b\n"}).trusted_hosts == (
        "a",
        "b",
    )


def test_they_become_uv_s_variables(tmp_path: Path):
    options = SiteOptions(
        index_url="https://a/",
        extra_index_urls=("https://b/", "https://c/"),
        find_links=("/l", "/m"),
        cert="/c.pem",
        offline=True,
    )
    assert options.to_uv_variables() == {
        "UV_DEFAULT_INDEX": "https://a/",
        "UV_INDEX": "https://b/ https://c/",
        "UV_FIND_LINKS": "/l,/m",
        "SSL_CERT_FILE": "/c.pem",
        "UV_OFFLINE": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_secrets_in_urls_are_never_shown(site: Read, caplog: pytest.LogCaptureFixture):
    options = site(
        PIP_INDEX_URL="https://user:secret@x/", PIP_EXTRA_INDEX_URL="https://token-secret@y/ file://u:secret@/nowhere"
    )
    assert options.index_url == "https://user:secret@x/"
    assert "secret" not in repr(options) + str(options) + caplog.text


def test_a_run_s_options_hold_what_a_node_needs_as_json():
    options = SiteOptions(
        index_url="https://a/", find_links=("/l",), no_index=True, constraints=("/only-for-resolving.txt",)
    )
    assert options.to_json() == {"index_url": "https://a/", "find_links": ["/l"], "no_index": True}


def test_where_uv_s_own_pythons_are_is_said_to_nodes_and_not_to_resolving(site: Read):
    options = site(UV_PYTHON_INSTALL_MIRROR="https://u:secret@p/", UV_PYTHON_DOWNLOADS_JSON_URL="https://p/list.json")
    assert options.to_json() == {"python_mirror": "https://u:secret@p/", "python_list": "https://p/list.json"}
    assert not any("PYTHON" in name for name in options.to_uv_variables())
    assert "secret" not in repr(options)


def test_this_process_s_own_site_can_be_read():
    assert all(Path(link).exists() or "://" in link for link in site_options().find_links)
