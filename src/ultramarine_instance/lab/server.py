"""JupyterLab on a Unix socket, as the gateway reaches it.

What must be so is given to the server as if on its command line, which goes before every file: themes, shortcuts and
kernels of its owner stay, and nothing in `~/.jupyter` opens another door. It is looked at once more before it listens.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jupyter_server.serverapp import DEFAULT_JUPYTER_SERVER_PORT, ServerApp
from traitlets import default
from traitlets.config import Config

from ultramarine_instance import client
from ultramarine_instance.lab import idle, page
from ultramarine_instance.lab.identity import Gateway
from ultramarine_instance.lab.kernels import Environments, Kernels
from ultramarine_instance.options import secret_in

KERNEL_ENDS_S = 3.0  #: what a kernel may take to end, of the run's own grace
RUNTIME_PATH_MAX = 50  #: bytes; a kernel's sockets below it have names of up to 55
MUST = (
    "sock",
    "sock_mode",
    "base_url",
    "identity_provider_class",
    "kernel_manager_class",
    "allow_origin",
    "allow_origin_pat",
    "allow_unauthenticated_access",
    "disable_check_xsrf",
)


class Server(ServerApp):
    """With a shell in terminals that finds the command line, unless its owner wants another."""

    shell = None  #: its arguments; None: Jupyter's own choice

    @default("terminado_settings")
    def _default_terminado_settings(self):
        return {} if self.shell is None else {"shell_command": self.shell}


def run(options, settings, *, program):
    """Serve until SIGTERM. The exit code."""
    with _runtime_folder(options.socket.parent) as runtime:
        os.environ["JUPYTER_RUNTIME_DIR"] = runtime
        extensions = Path(runtime, "extensions")
        page.lay(extensions)
        options.socket.unlink(missing_ok=True)  # of a run that was killed
        config = _config(options, settings, program=program, extensions=extensions)
        files = options.settings.parent
        shell = None if client.here(settings) is None else client.terminal(files)
        app = _fixed(Server, shell=shell).instance(config=config)
        app.initialize(argv=[], starter_extension="lab")
        if wrong := _weakened(app, config):
            print(
                f"ServerApp.{wrong[0]} is not what it must be: look into ~/.jupyter for who changes it.",
                file=sys.stderr,
            )
            return 1
        if not app.http_server:
            print(f"Cannot listen on {options.socket}.", file=sys.stderr)
            return 1
        app.web_app.add_handlers(".*$", idle.handlers(options.base, settings.name))
        app.io_loop.add_callback(app.kernel_spec_manager.refresh)  # nobody is to wait for it
        app.start()
    return 0


def _config(options, settings, *, program, extensions):
    secret = secret_in(options.secret)
    return Config(
        ServerApp={
            "sock": str(options.socket),
            "sock_mode": "0600",
            "base_url": options.base,
            "default_url": "/lab",
            "root_dir": str(options.home),
            "port": DEFAULT_JUPYTER_SERVER_PORT,  # none, in its words, where there is a socket
            "identity_provider_class": _fixed(Gateway, secret=secret, owner=settings.owner),
            "kernel_spec_manager_class": _fixed(
                Environments,
                program=program,
                home=options.home,
                settings=options.settings,
                behind=_behind(options, settings),
            ),
            "kernel_manager_class": Kernels,
            "allow_unauthenticated_access": False,
            "allow_remote_access": True,  # the gateway looks at the name by which it was reached
            "allow_origin": "",
            "allow_origin_pat": "",
            "allow_credentials": False,
            "disable_check_xsrf": False,
            "allow_root": True,  # who runs the node is who runs its jobs
            "open_browser": False,
            "quit_button": False,
            "terminals_enabled": True,
            "tornado_settings": {},
            "jpserver_extensions": {"jupyterlab": True, "jupyter_server_terminals": True},
        },
        KernelManager={"transport": "ipc", "shutdown_wait_time": KERNEL_ENDS_S},
        LabApp={
            "extra_labextensions_path": [str(extensions)],
            "extension_manager": "readonly",  # the environment cannot be written
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        },
    )


def _behind(options, settings):
    """What stands behind the kernel of our own environment."""
    environment = client.here(settings)
    return [] if environment is None else client.behind(options.settings.parent, environment)


def _fixed(kind, **known):
    """A class that knows this: no traits, so no file can set them."""
    return type(kind.__name__, (kind,), known)


def _weakened(app, config):
    """What is not as it must be, by name."""
    must = config.ServerApp
    return [name for name in MUST if getattr(app, name) != must[name]]


@contextlib.contextmanager
def _runtime_folder(near):
    """Where kernels have their sockets and connection files, for us alone: paths of sockets are short."""
    place = near / "kernels"
    if len(os.fsencode(place)) > RUNTIME_PATH_MAX:
        place = Path(tempfile.mkdtemp(prefix="um-kernels-", dir="/tmp"))
    place.mkdir(mode=0o700, exist_ok=True)
    try:
        yield str(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
