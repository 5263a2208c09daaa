"""The limits that keep the code readable (CONTRIBUTING.md)."""

import ast
from pathlib import Path

from .shape import ROOT, Module, cycles, imported, imports_inside_functions, length, modules, parameters, strings

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
PARAMETERS_MAX = 6
POSITIONAL_MAX = 3

#: Where a function may import, and why.
MAY_IMPORT_INSIDE = {
    "ultramarine.cli": "a command pays only for what it uses",
    "ultramarine.sdk": "the same: few commands need uploads and downloads",
    "ultramarine.tracking.in_job.ultramarine_notebook": "what executes a notebook stands behind the environment",
    "ultramarine.store.migration": "Alembic is needed once for each new version, not at each start",
    "ultramarine.tracking.connection": "MLflow is spoken to by few requests, and httpx is a tenth of a start",
    "ultramarine.drivers.machine": "NVML is asked only where a driver is",
    "ultramarine.drivers.registry": "a driver is loaded when its kind is asked for",
    "ultramarine_serving.scoring": "what a model's environment has is found out when the model is loaded",
}
#: Kinds that name a driver. `local` is also the name of the compute that is always there.
DRIVER_KINDS = frozenset({"slurm", "ssh", "ray", "kubernetes", "simulated"})
#: Modules with such words in another sense.
MAY_NAME_KINDS = {
    "ultramarine.domain.compute": "the types of Azure's that are refused with a hint",
    "ultramarine.domain.provider": "where machines come from, as users write it",
    "ultramarine.domain.endpoint": "the type of deployments of Azure's that is refused",
    "ultramarine.domain.conda_names": "packages of the same names",
    "ultramarine.domain.distribution": "a library of the same name, which a job brings along",
}
BANNED_NAMES = frozenset({"utils", "util", "helpers", "common", "manager", "base", "misc"})

MODULES = modules()


def test_no_function_is_longer_than_sixty_lines():
    long = [
        f"{m.at(f)} {f.name}: {length(f)}" for m in MODULES for f in m.functions() if length(f) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_file_is_longer_than_four_hundred_lines():
    sizes = {str(m.path.relative_to(ROOT)): m.text.count("\n") for m in MODULES}
    assert {file: lines for file, lines in sizes.items() if lines > FILE_LINES_MAX} == {}


def test_no_function_has_more_than_six_parameters_or_three_by_position():
    """Called from another file, a fourth argument has its name; a private function's callers are beside it."""
    wide: list[str] = []
    for module in MODULES:
        for function in module.functions():
            total, by_position = parameters(function)
            is_public = not function.name.startswith("_") or function.name == "__init__"
            if is_called_by_framework(function, module):
                continue
            if total > PARAMETERS_MAX or (is_public and by_position > POSITIONAL_MAX):
                wide.append(f"{module.at(function)} {function.name}: {total}, {by_position} by position")
    assert wide == []


def is_called_by_framework(function: ast.FunctionDef | ast.AsyncFunctionDef, module: Module) -> bool:
    """Routes and commands: a parameter is a part of the request or an option, and given by name."""
    return module.name.startswith(("ultramarine.cli", "ultramarine.api")) and bool(function.decorator_list)


def test_no_modules_import_each_other_in_a_circle():
    names = frozenset(module.name for module in MODULES)
    assert cycles({module.name: imported(module, names) for module in MODULES}) == []


def test_functions_import_nothing_but_where_listed():
    hidden = [
        module.at(node)
        for module in MODULES
        if not module.name.startswith(tuple(MAY_IMPORT_INSIDE))
        for node in imports_inside_functions(module)
    ]
    assert hidden == []


def test_no_driver_is_named_outside_drivers():
    named = [
        f"{module.at(node)} {node.value!r}"
        for module in MODULES
        if module.name.startswith("ultramarine.") and not module.name.startswith("ultramarine.drivers")
        if module.name not in MAY_NAME_KINDS
        for node in strings(module)
        if node.value in DRIVER_KINDS
    ]
    assert named == []


def test_every_module_is_named_for_what_is_in_it():
    assert [m.name for m in MODULES if m.name.rpartition(".")[2] in BANNED_NAMES] == []


def test_what_runs_in_foreign_environments_is_python_3_9():
    for module in MODULES:
        if module.name.startswith(("ultramarine_runner", "ultramarine_serving", "ultramarine.tracking.in_job")):
            ast.parse(module.text, filename=str(module.path), feature_version=(3, 9))


def test_the_measures_see_what_they_measure():
    text = "def f(a, b, c, d, *, e, f, g):\n    import os\n    return 'slurm'\n"
    sample = Module(name="sample", path=Path("sample.py"), text=text, tree=ast.parse(text))
    function = next(sample.functions())
    assert (length(function), parameters(function)) == (3, (7, 4))
    assert len(imports_inside_functions(sample)) == 1
    assert [node.value for node in strings(sample)] == ["slurm"]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
