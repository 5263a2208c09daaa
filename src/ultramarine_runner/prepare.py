"""Bring together what a run needs before its ranks can start: code, inputs, files, environment, folders, sockets."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import checkpoints, environments, trust
from .checkpoints import Checkpoint
from .config import Config
from .files import Cache, InputFailed
from .folders import Folders
from .machine import platform_name
from .ranks import Places
from .spec import BadSpec, Environment, Input, Output, Spec
from .wire import Channel, Refused, Unreachable

SOCKET_PATH_MAX = 99  #: bytes; the kernel takes 107
RAY_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"  #: what a Ray adds to its folder
Note = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Where everything is now."""

    places: Places
    extra: tuple[Path, ...]  #: folders outside the run's own, to be deleted with it
    checkpoint: Checkpoint | None = None  #: what is to be kept from here
    held: ExitStack = field(default_factory=ExitStack)  #: the environments, until it is closed


class Preparer:
    """Prepares runs, in any thread: each has its own connection."""

    def __init__(self, config: Config, connect: Callable[[], Channel]) -> None:
        self._config = config
        self._connect = connect
        self._cache = Cache(config.cache)
        self._local = threading.local()
        self._tools = threading.Lock()

    @property
    def channel(self) -> Channel:
        """This thread's connection."""
        if not hasattr(self._local, "channel"):
            self._local.channel = self._connect()
        channel: Channel = self._local.channel
        return channel

    def prepare(self, key: str, spec: Spec, folder: Path, *, note: Note, say: Note) -> Prepared:
        """Everything in place. BadSpec, InputFailed, EnvironmentFailed, OSError say why not.

        `say` is for what there is to tell later.
        """
        with ExitStack() as held:  # let go where anything fails
            places, extra, checkpoint = self._prepare(key, spec, folder, held, note=note, say=say)
            return Prepared(places, extra, checkpoint, held.pop_all())

    def _prepare(
        self, key: str, spec: Spec, folder: Path, held: ExitStack, *, note: Note, say: Note
    ) -> tuple[Places, tuple[Path, ...], Checkpoint | None]:
        code = folder / "code"
        code.mkdir()
        if spec.code is not None:
            self._cache.copy(spec.code, code, self.channel, note=note)
        (code / "outputs").mkdir(exist_ok=True)
        python, virtual_env = self._python(spec.environment, held, note)
        inputs = {one.name: self._input(one, folder, note) for one in spec.inputs}
        files = {path: self._file(path, sha256, folder, note) for path, sha256 in spec.files}
        sites = {str(at): self._site(one, held, note, say) for at, one in enumerate(spec.behind)}
        home, kept, checkpoint = self._outliving(spec, folder, note=note, say=say)
        # Last: a failure before it leaves nothing outside the run's folder.
        sockets, extra = socket_folder(folder, key, spec.sockets)
        scratch = scratch_folder(folder, key) if spec.distribution == "ray" else None
        places = Places(
            folder=str(code),
            python=python,
            virtual_env=virtual_env,
            inputs=inputs,
            outputs={one.name: str(output_place(folder, one, make=True)) for one in spec.outputs},
            sockets={name: str(sockets / f"{name}.sock") for name in spec.sockets},
            secrets={name: _secret(folder / "secrets", name, text) for name, text in spec.secret_files.items()},
            files=files,
            sites=sites,
            checkpoint=kept,
            collected=str(Folders(folder).collected),
            scratch=None if scratch is None else str(scratch),
            cache=str(self._config.cache / "runs"),
            home=home,
            server=self._config.server,
            ca="" if self._config.ca is None else str(self._config.folder / trust.CA_FILE),
        )
        return places, extra if scratch is None else (*extra, scratch), checkpoint

    def _outliving(
        self, spec: Spec, folder: Path, *, note: Note, say: Note
    ) -> tuple[str, str | None, Checkpoint | None]:
        """The home folder, the checkpoint folder, and how one of them is kept elsewhere.

        The first node's is kept; all begin with what was kept before.
        """
        if (one := spec.checkpoint) is None:
            return self._home(spec), None, None
        kind = checkpoints.HOME if one.is_home else checkpoints.CHECKPOINT
        place = folder / ("home" if one.is_home else "checkpoint")
        known = checkpoints.begin(place, one.snapshot, cache=self._cache, channel=self.channel, note=note)
        made = Checkpoint(place, kind, known, begun_with=one.snapshot, every_s=one.every_s, note=say)
        kept = None if spec.node_rank else made
        return (str(place), None, kept) if one.is_home else (self._home(spec), str(place), kept)

    def _home(self, spec: Spec) -> str:
        """The folder of this node that outlives the run, made when it is not there."""
        if spec.home is None:
            return ""
        if self._config.homes is None:
            raise BadSpec("home: this node has no place for folders that outlive a run.")
        place = self._config.homes / spec.home
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(place)

    def _input(self, one: Input, folder: Path, note: Note) -> str:
        place = folder / "inputs" / one.name
        place.parent.mkdir(exist_ok=True)
        content = self._cache.manifest(one.snapshot, self.channel, note)
        is_file = content.kind == "file"
        if one.mode == "download":
            self._cache.copy(one.snapshot, place, self.channel, note=note)
            return str(place / content.files[0].path if is_file else place)
        target = self._cache.mounted(one.snapshot, self.channel, note)
        if is_file:  # a folder around it, so that the file keeps its own name
            place.mkdir()
            place = place / os.path.basename(content.files[0].path)
        place.symlink_to(target)
        return str(place)

    def _file(self, path: str, sha256: str, folder: Path, note: Note) -> str:
        place = folder / "files" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(self._cache.blob(sha256, self.channel, note))
        return str(place)

    def _python(self, one: Environment | None, held: ExitStack, note: Note) -> tuple[str, str | None]:
        if one is None:
            # Not our own virtual environment: nothing of the server's packages is to be seen in a job.
            return getattr(sys, "_base_executable", None) or sys.executable, None
        made = self._environment(one, held, note)
        return str(made / "bin" / "python"), str(made)

    def _site(self, one: Environment, held: ExitStack, note: Note, say: Note) -> str:
        """Its site-packages; empty for an optional one that cannot be had."""
        try:
            made = self._environment(one, held, note)
        except (environments.EnvironmentFailed, InputFailed) as error:
            if not one.is_optional:
                raise
            say(f"Goes on without what may stand behind its environment: {error}")
            return ""
        found = sorted((made / "lib").glob("python3*/site-packages"))
        if not found:
            raise environments.EnvironmentFailed(f"The environment {one.digest} has no site-packages folder.")
        return str(found[0])

    def _environment(self, one: Environment, held: ExitStack, note: Note) -> Path:
        lock = self._cache.blob(one.lock, self.channel, note).read_bytes()
        recipe = environments.Recipe(digest=one.digest, lock=lock, python=one.python)
        used = environments.use(self._config.cache, recipe, options=one.options, uv=self._uv(note), progress=note)
        held.callback(used.over)
        return used.home

    def uv_here(self) -> str | None:
        """The uv program, where this node has one."""
        found = self._config.uv or shutil.which("uv")
        if found:
            return found
        fetched = self._config.cache / "tools" / f"uv-{platform_name()}"
        return str(fetched) if fetched.exists() else None

    def _uv(self, note: Note) -> str:
        """The uv program: the configured one, the one on PATH, else the control plane's."""
        with self._tools:
            if (here := self.uv_here()) is not None:
                return here
            note("fetching uv")
            target = self._config.cache / "tools" / f"uv-{platform_name()}"
            self._fetch_uv(target)
        return str(target)

    def _fetch_uv(self, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, fresh = tempfile.mkstemp(dir=target.parent, prefix=".fetching-")
        try:
            with os.fdopen(fd, "w+b") as stream:
                self.channel.fetch(f"/runner/v1/tools/uv/{platform_name()}", stream)
            os.chmod(fresh, 0o755)
            os.replace(fresh, target)
        except (Refused, Unreachable) as error:
            os.unlink(fresh)
            raise environments.EnvironmentFailed(
                f"This node has no uv, and the control plane gave none: {error} Install uv on the node."
            ) from error


def _secret(folder: Path, name: str, text: str) -> str:
    """A file that its owner alone may read."""
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / name
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as stream:
        stream.write(text)
    return str(place)


def output_place(folder: Path, one: Output, *, make: bool = False) -> Path:
    """What `{{output:NAME}}` is: a folder, or for `uri_file` the file in it that the job writes."""
    around = folder / "outputs" / one.name
    if make:
        around.mkdir(parents=True, exist_ok=True)
    return around / one.name if one.kind == "uri_file" else around


def socket_folder(folder: Path, key: str, names: tuple[str, ...]) -> tuple[Path, tuple[Path, ...]]:
    """A folder (0700) where socket paths are short enough, and what is to be deleted beside the run's own folder.

    Raises BadSpec when no folder is short enough.
    """
    if not names:
        return folder, ()
    longest = max(len(name) for name in names) + len("/.sock")
    near = folder / "sockets"
    if len(os.fsencode(near)) + longest <= SOCKET_PATH_MAX:
        near.mkdir(mode=0o700, exist_ok=True)
        return near, ()
    far = _short_folder(folder, longest)
    if far is None:
        raise BadSpec(f"sockets: {names} make paths of over {SOCKET_PATH_MAX} bytes for run {key}: use shorter names.")
    return far, (far,)


def scratch_folder(folder: Path, key: str) -> Path:
    """Where a Ray of the job's own has its sockets, to be deleted beside the run's own folder."""
    place = _short_folder(folder / "ray", len(RAY_SOCKET))
    if place is None:
        raise BadSpec(f"There is no folder for temporary files whose path is short enough for a Ray of run {key}.")
    return place


def _short_folder(instead: Path, longest: int) -> Path | None:
    """A folder (0700) for a path that is too long, with room for `longest` bytes more; None when there is none."""
    short = hashlib.sha256(os.fsencode(instead)).hexdigest()[:16]
    for root in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 (who owns it is checked)
        around = Path(root) / f"um-{os.getuid()}"
        if len(os.fsencode(around / short)) + longest <= SOCKET_PATH_MAX:
            _own(around)
            (around / short).mkdir(mode=0o700, exist_ok=True)
            return around / short
    return None


def _own(folder: Path) -> None:
    """Make sure that a folder in a place where all can write is ours alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) & 0o077:
        raise InputFailed(f"{folder} is not a folder of ours with mode 0700: delete it, then run again.")
