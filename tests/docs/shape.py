"""Measures Python sources: lengths, parameters, imports. Written here so that no tool's setting can soften a limit."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def at(self, node: ast.expr | ast.stmt) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


def modules(root: Path = SRC) -> list[Module]:
    """All of ours; migrations are generated and apart."""
    found: list[Module] = []
    for path in sorted(root.rglob("*.py")):
        if "versions" in path.parts and "migrations" in path.parts:
            continue
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        found.append(Module(name=name, path=path, text=text, tree=ast.parse(text)))
    return found


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def parameters(function: Function) -> tuple[int, int]:
    """How many there are, and how many may be given by position; `self` and its like do not count."""
    given = function.args
    by_position = [*given.posonlyargs, *given.args]
    own = [argument for argument in by_position if argument.arg not in ("self", "cls", "tx", "ctx")]
    return len(own) + len(given.kwonlyargs), len(own)


def imports_inside_functions(module: Module) -> list[ast.Import | ast.ImportFrom]:
    return [
        node
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def imported(module: Module, names: frozenset[str]) -> set[str]:
    """Which of our modules it imports, at the top or inside functions; what only types need counts too."""
    wanted: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            inner = {f"{base}.{alias.name}" for alias in node.names}
            wanted |= inner & names
            if not inner <= names:  # something of the package itself is taken, not only modules in it
                wanted.add(base)
    return (wanted & names) - {module.name}


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    is_package = module.path.name == "__init__.py"
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def cycles(graph: Mapping[str, set[str]]) -> list[Sequence[str]]:
    """One circle of each knot: depth first, without recursion."""
    found: list[Sequence[str]] = []
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            node, is_left = stack.pop()
            if is_left:
                path.pop()
                done.add(node)
            elif node in path:
                found.append([*path[path.index(node) :], node])
            elif node not in done:
                path.append(node)
                stack.append((node, True))
                stack.extend((after, False) for after in sorted(graph[node]))
    return found


def strings(module: Module) -> Iterator[ast.Constant]:
    """String literals, docstrings apart."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, Function | ast.ClassDef | ast.Module) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node
