"""Where this site takes packages from, read as pip and uv read it.

pip: `/etc/xdg/pip/pip.conf`, `/etc/pip.conf`, the user's, the virtual environment's, `PIP_CONFIG_FILE`, then `PIP_*`;
sections `[global]`, then `[install]`.
uv's own variables win over all of it. Like pip, all indexes are looked at and the best version is taken, whichever has
it.
"""

import configparser
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from ultramarine.locks.errors import without_secrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """Where packages come from. URLs may hold secrets: `repr` does not show them, nor may a message."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    offline: bool = False
    no_index: bool = False
    constraints: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    index_strategy: str = "unsafe-best-match"
    python_mirror: str | None = None  #: of uv's own Pythons, for nodes that lack one
    python_list: str | None = None  #: which those are, where it is not the list that uv has itself

    def __repr__(self) -> str:
        shown = {name: value for name, value in asdict(self).items() if value}
        return f"SiteOptions({without_secrets(str(shown))})"

    def to_uv_variables(self) -> dict[str, str]:
        """The same as uv's environment variables (`no_index` has none: give `--no-index`)."""
        lists = {
            "UV_INDEX": self.extra_index_urls,
            "UV_CONSTRAINT": self.constraints,
            "UV_INSECURE_HOST": self.trusted_hosts,
        }
        variables = {name: " ".join(values) for name, values in lists.items() if values}
        if self.find_links:
            variables["UV_FIND_LINKS"] = ",".join(self.find_links)
        if self.index_url:
            variables["UV_DEFAULT_INDEX"] = self.index_url
        if self.cert:
            variables["SSL_CERT_FILE"] = self.cert
        if self.offline:
            variables["UV_OFFLINE"] = "1"
        return {**variables, "UV_INDEX_STRATEGY": self.index_strategy}

    def to_json(self) -> dict[str, Any]:
        """What a run's `environment.options` hold for the node (see the runner's protocol)."""
        names = ("index_url", "extra_index_urls", "find_links", "cert", "offline", "no_index", "trusted_hosts")
        names += ("python_mirror", "python_list")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        return {
            name: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
            for name, value in found.items()
            if value
        }


def site_options(
    environ: Mapping[str, str] = os.environ, *, prefix: Path = Path(sys.prefix), root: Path = Path("/")
) -> SiteOptions:
    """Read the site's configuration. `prefix` is the virtual environment whose pip.conf counts, `root` where `etc`
    lies."""
    pip = _pip_settings(environ, prefix=prefix, root=root)
    extra = (
        _words(environ.get("UV_INDEX"))
        or _words(environ.get("UV_EXTRA_INDEX_URL"))
        or _words(pip.get("extra-index-url"))
    )
    links = _split_links(environ["UV_FIND_LINKS"]) if environ.get("UV_FIND_LINKS") else _words(pip.get("find-links"))
    return SiteOptions(
        index_url=environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or pip.get("index-url") or None,
        extra_index_urls=tuple(url for url in extra if _is_there(url, "extra index")),
        find_links=tuple(link for link in map(_expanded, links) if _is_there(link, "find-links folder")),
        cert=environ.get("SSL_CERT_FILE") or _expanded(pip.get("cert", "")) or None,
        offline=_is_true(environ.get("UV_OFFLINE")),
        no_index=_is_true(pip.get("no-index")),
        constraints=tuple(map(_expanded, _words(environ.get("UV_CONSTRAINT")) or _words(pip.get("constraint")))),
        trusted_hosts=tuple(_words(environ.get("UV_INSECURE_HOST")) or _words(pip.get("trusted-host"))),
        index_strategy=environ.get("UV_INDEX_STRATEGY") or "unsafe-best-match",
        python_mirror=environ.get("UV_PYTHON_INSTALL_MIRROR") or None,
        python_list=environ.get("UV_PYTHON_DOWNLOADS_JSON_URL") or None,
    )


def _pip_settings(environ: Mapping[str, str], *, prefix: Path, root: Path) -> dict[str, str]:
    """pip's effective settings for `pip install`: an `[install]` beats every `[global]`, a variable beats both."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in _pip_files(environ, prefix=prefix, root=root):
        for section, settings in _read(file).items():
            if section in sections:
                sections[section].update(settings)
    own = {
        name[4:].lower().replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("PIP_") and value
    }
    return {**sections["global"], **sections["install"], **own}


def _pip_files(environ: Mapping[str, str], *, prefix: Path, root: Path) -> Iterable[Path]:
    """pip's files, the weakest first."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield root / folder.lstrip("/") / "pip" / "pip.conf"
    yield root / "etc" / "pip.conf"
    if not (named and Path(named).is_file()):
        home = environ.get("HOME") or os.path.expanduser("~")
        yield Path(home) / ".pip" / "pip.conf"
        yield Path(environ.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "pip" / "pip.conf"
    yield prefix / "pip.conf"
    if named:
        yield Path(named)


def _read(file: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except configparser.Error as error:
        _log.warning("%s is not read, pip could not either: %s", file, str(error).splitlines()[0])
        return {}
    return {
        s: {key.lower().replace("_", "-").removeprefix("--"): value for key, value in parser.items(s) if value}
        for s in parser.sections()
    }


def _words(value: str | None) -> Sequence[str]:
    return value.split() if value else []


def _split_links(value: str) -> Sequence[str]:
    return [link for part in value.split(",") for link in part.split()]


def _expanded(path: str) -> str:
    return os.path.expanduser(path) if path.startswith("~") else path


def _is_true(value: str | None) -> bool:
    return (value or "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}


def _is_there(url: str, what: str) -> bool:
    """False (with a warning, as pip gives) for a folder that does not exist; the web is not asked."""
    bare = url.split("=", 1)[1] if "=" in url.split("://", 1)[0] else url  # UV_INDEX may hold name=url
    path = unquote(urlsplit(bare).path) if bare.startswith("file:") else bare
    if "://" in path or os.path.exists(path):
        return True
    _log.warning("The %s %s is ignored: it does not exist.", what, without_secrets(url))
    return False
