"""Our part of JupyterLab's page, `page.js`: an extension of one file, laid where JupyterLab looks for such."""

import json
from importlib.resources import files

NAME = "ultramarine"  #: as the script calls itself
# It asks whoever comes to be told of Jupyter's news, which are on another machine: not even then could they be had.
_OFF = ["@jupyterlab/apputils-extension:announcements"]


def lay(folder):
    """Write it below this folder, which is to be one of `extra_labextensions_path`."""
    built = {"load": "static/page.js", "extension": "./extension"}
    about = {
        "name": NAME,
        "version": "1.0.0",
        "description": "Says when this instance is about to stop for want of use.",
        "jupyterlab": {"extension": True, "disabledExtensions": _OFF, "_build": built},
    }
    static = folder / NAME / "static"
    static.mkdir(mode=0o700, parents=True, exist_ok=True)
    static.joinpath("page.js").write_bytes(files(__package__).joinpath("page.js").read_bytes())
    static.with_name("package.json").write_text(json.dumps(about), encoding="utf-8")
