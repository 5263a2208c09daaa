"""The list of kernels: one for each environment of the workspace, and the one that JupyterLab itself runs in.

The list is the control plane's, asked anew when it is some seconds old. When the control plane does not answer, it is
the last one that was known.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web

from ultramarine_instance.control import Control, NoAnswer
from ultramarine_instance.kernel import RUN, argv

FRESH_S = 5.0
NEWCOMER = "sklearn"  #: the curated environment that a new notebook gets: what the first tutorials import is in it


def kernel_name(environment):
    """`sklearn:3` as Jupyter can name it, the same for ever: notebooks keep it."""
    return f"{environment.name}--{environment.version}".lower()


class Environments(KernelSpecManager):
    """Beside what its owner has installed in the home (`~/.local/share/jupyter/kernels`)."""

    program = home = settings = None  #: paths: the file that we are, and what a kernel is told
    behind = ()  #: the path of the kernel of our own environment

    def __init__(self, **given):
        super().__init__(**given)
        self.default = NATIVE_KERNEL_NAME
        self._known, self._asked_at, self._lock = {}, None, asyncio.Lock()

    async def get_all_specs(self):
        await self.refresh()
        return super().get_all_specs()

    def find_kernel_specs(self):
        return super().find_kernel_specs() | dict.fromkeys(self._known, RESOURCES)

    def get_kernel_spec(self, kernel_name):
        environment = self._known.get(kernel_name.lower())
        if environment is not None:
            return self._spec(environment)
        try:
            return super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            return self._spec(self._older(kernel_name))

    def _get_kernel_spec_by_name(self, kernel_name, resource_dir):
        environment = self._known.get(kernel_name)
        if environment is not None:
            return self._spec(environment)
        spec = super()._get_kernel_spec_by_name(kernel_name, resource_dir)
        if kernel_name == NATIVE_KERNEL_NAME and resource_dir.startswith(sys.prefix):  # not one of the owner's own
            spec.display_name = "Python (jupyter)"
            spec.argv = [sys.executable, "-c", RUN, *self.behind, "-f", "{connection_file}"]
        return spec

    async def refresh(self):
        """Ask anew where the list is old. One asks, the others wait for it."""
        async with self._lock:
            if self._asked_at is not None and time.monotonic() - self._asked_at < FRESH_S:
                return
            try:
                found = await asyncio.to_thread(lambda: Control.from_variables(os.environ).environments())
            except NoAnswer as error:
                self.log.warning("The list of kernels is the last one known: %s", error)
            else:
                # JupyterLab's own environment is there as `python3` already, also when nobody answers.
                self._known = {kernel_name(one): one for one in found if one.digest != Path(sys.prefix).name}
                newest = [kernel_name(one) for one in found if one.is_curated and one.name == NEWCOMER]
                self.default = newest[0] if newest else NATIVE_KERNEL_NAME
            self._asked_at = time.monotonic()

    def _older(self, kernel_name):
        """A version that is not the newest, as an older notebook names it. Raises NoSuchKernel."""
        name, _, version = kernel_name.rpartition("--")
        if not name:
            raise NoSuchKernel(kernel_name)
        try:
            found = Control.from_variables(os.environ).environment(name, version)
        except NoAnswer as error:
            self.log.warning("No kernel %s: %s", kernel_name, error)
            raise NoSuchKernel(kernel_name) from None
        self._known = self._known | {kernel_name.lower(): found}
        return found

    def _spec(self, environment):
        own = {"environment": environment.label, "digest": environment.digest, "python": environment.python}
        started = argv(
            self.program,
            label=environment.label,
            digest=environment.digest,
            home=self.home,
            settings=self.settings,
        )
        return KernelSpec(
            argv=[*started, "{connection_file}"],
            display_name=environment.label,
            language="python",
            metadata=get_kernel_dict()["metadata"] | {"ultramarine": own},
            resource_dir=RESOURCES,
        )


class Kernels(AsyncMappingKernelManager):
    """A notebook that names no kernel gets the newest curated `sklearn`, if there is one."""

    @property
    def default_kernel_name(self):
        return self.kernel_spec_manager.default

    async def start_kernel(self, **given):
        """Refused in words where there is none of that name: later, half a kernel would be left."""
        name = given.get("kernel_name") or self.default_kernel_name
        try:
            await asyncio.to_thread(self.kernel_spec_manager.get_kernel_spec, name)
        except NoSuchKernel:
            words = f"There is no kernel {name}: its environment is not in this workspace. Look: um environment list"
            raise web.HTTPError(404, words) from None
        return await super().start_kernel(**given | {"kernel_name": name})
