"""Lets a scikit-learn model answer from its ONNX form where that gives the same answers.

The form is kept on the node, by the content of the model and the versions of all that makes it. The first replica on a
node serves the original at once, has the form made and tried in another process meanwhile, and changes over when it is
there; those after it start from it, without importing scikit-learn. Whatever goes wrong leaves the original serving.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from .model import Model, describe, estimator_path
from .onnx_model import REPORT, Damaged, Report, load
from .options import Options

log = logging.getLogger("scoring.onnx")

BYTES_MAX = 64 * 1024 * 1024  #: of the saved model: exporting takes about ten times as much memory beside the server
DEADLINE_S = 120.0
KEPT_MAX = 64  #: models whose forms are kept on a node; the longest unused go
_PROGRAM = Path(__file__).parents[2]  # the zip that we run from, or the folder of the sources


def of(options: Options) -> OnnxPath | None:
    """That of the model which is to be served; None where the server was not told where to find what it needs.

    Raises:
        MLModelError: the folder holds no MLflow model.
    """
    if options.onnx_site is None or options.cache is None:
        return None
    return OnnxPath(options.model_dir, flavor=options.flavor, site=options.onnx_site, cache=options.cache)


class OnnxPath:
    """The ONNX form of one saved model. `site` has onnx and onnxruntime, `cache` is where forms are kept."""

    def __init__(self, model_dir: Path, *, flavor: str, site: Path, cache: Path) -> None:
        self._model_dir = model_dir
        self._site = site
        self._described = describe(model_dir)
        self._is_possible = self._described.flavor_to_load(flavor) == "sklearn" and self._is_small()
        self._folder = cache / self._key() if self._is_possible else cache

    def kept(self) -> Model | None:
        """The model from its form, if that was made before and chosen."""
        if not self._is_possible or not self._folder.exists():
            return None
        try:
            os.utime(self._folder)
            report = Report.from_json((self._folder / REPORT).read_text(encoding="utf-8"))
            if not report.is_chosen:
                log.info("Serves the original, for its ONNX form is not chosen: %s.", report.why)
                return None
            model = self._loaded(report)
        except Exception as error:  # an onnxruntime that cannot be imported, a damaged file: the original is there
            log.warning("Serves the original, for its ONNX form failed: %s: %s", type(error).__name__, error)
            if isinstance(error, (Damaged, OSError)):
                shutil.rmtree(self._folder, ignore_errors=True)
            return None
        words = "Serves the ONNX form of the %s: over %d rows its labels are equal and its figures at most %.2g apart."
        log.info(words, report.estimator, report.rows, report.difference)
        return model

    def make(self, use: Callable[[Model], None]) -> None:
        """Unless there is one, have the form made in the background; `use` gets the model if it is chosen.

        It is called in another thread.
        """
        if not self._is_possible or self._folder.exists():
            return

        def work() -> None:
            try:
                if self._exported() and (model := self.kept()) is not None:
                    use(model)
                _tidy(self._folder.parent)
            except OSError as error:
                log.warning("Serves the original: its ONNX form could not be made: %s", error)

        threading.Thread(target=work, name="onnx", daemon=True).start()

    def _is_small(self) -> bool:
        path = estimator_path(self._model_dir, self._described)
        size = path.stat().st_size if path.is_file() else 0
        if size > BYTES_MAX:
            log.info("Serves the original: its %d MiB are more than is exported to ONNX.", size // 1024**2)
        return size <= BYTES_MAX

    def _key(self) -> str:
        """By all that the form depends on."""
        found = hashlib.sha256()
        versions = [_version("scikit-learn"), _version("numpy"), sys.version]
        found.update("\0".join([*versions, str(self._site), str(_PROGRAM.resolve())]).encode())
        for path in (
            self._model_dir / "MLmodel",
            estimator_path(self._model_dir, self._described),
            self._model_dir / "serving_input_example.json",
        ):
            content = path.read_bytes() if path.is_file() else b""
            found.update(len(content).to_bytes(8, "big") + content)
        return found.hexdigest()[:32]

    def _loaded(self, report: Report) -> Model:
        # In front for this import only: the runtime that was tried is the one that serves.
        sys.path.insert(0, str(self._site))
        try:
            importlib.import_module("onnxruntime")
        finally:
            sys.path.remove(str(self._site))
        return load(self._folder, report, self._described)

    def _exported(self) -> bool:
        """Make the form in a process of its own."""
        command = [sys.executable, "-m", "ultramarine_serving.scoring.exporting", "--model-dir", str(self._model_dir)]
        command += ["--into", str(self._folder), "--site", str(self._site)]
        found = [str(_PROGRAM), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found)), "OMP_NUM_THREADS": "1"}
        with (
            tempfile.TemporaryFile() as said,
            # Its input stays open: by that it knows that we are there.
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, env=variables) as child,
        ):
            try:
                code = child.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                child.kill()
                log.warning("Serves the original: its export to ONNX took longer than %.0f s.", DEADLINE_S)
                return False
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
        if code != 0:
            last = words.splitlines()[-1] if words else "it said nothing"
            log.warning("Serves the original: its export to ONNX ended with %d: %s", code, last)
        return code == 0


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _tidy(cache: Path) -> None:
    """Keep the forms that were used last."""
    forms = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for old in sorted(forms, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_MAX:]:
        shutil.rmtree(old, ignore_errors=True)
        old.with_suffix(".lock").unlink(missing_ok=True)
