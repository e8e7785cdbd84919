"""Who imports whom, read from the source: modules of our own packages and rooms of a package."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("models", "streaming", "service", "benchmarks")

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Import:
    """One import. name: of a module of ours as far as it is one, else as it is written

    hint: only type checkers follow it; late: only a call of the function around it does
    """

    name: str
    hint: bool = False
    late: bool = False


@cache
def modules() -> Mapping[str, Path]:
    """Every module of our packages by its dotted name."""
    files = itertools.chain.from_iterable((ROOT / one).rglob("*.py") for one in PACKAGES)
    return {_dotted(path): path for path in files}


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """What a module of ours imports, anywhere in it."""
    return tuple(_imports(ast.parse(modules()[module].read_text()), module, Import("")))


def closure(start: Iterable[str], *, but_late_in: Iterable[str] = ()) -> dict[str, str]:
    """Every module that is loaded sooner or later, and the first module found to import it.

    Imports within functions count, but for those of the modules `but_late_in`; hints do not.
    A module's packages are loaded before it.
    """
    reached, waiting = dict.fromkeys(start, "the start"), list(start)
    while waiting:
        module = waiting.pop()
        found = [] if module not in modules() else imports_of(module)
        names = [x.name for x in found if not x.hint and not (x.late and module in but_late_in)]
        for name in (*names, *_packages_of(module)):
            if name not in reached:
                reached[name] = module
                waiting.append(name)
    return reached


def chain_to(module: str, reached: Mapping[str, str]) -> str:
    """How `closure` came there: `a -> b -> c`."""
    chain = [module]
    while chain[-1] in reached and reached[chain[-1]] != "the start":
        chain.append(reached[chain[-1]])
    return " -> ".join(reversed(chain))


def graph_of(package: str) -> Graph:
    """Modules of a package and which of its own they import: at once, late or for hints."""
    inside = [name for name in modules() if name == package or name.startswith(f"{package}.")]
    return {
        name: frozenset(x.name for x in imports_of(name) if x.name in inside) - {name}
        for name in inside
    }


def circles(graph: Graph) -> list[set[str]]:
    """Sets of nodes that reach each other."""
    reach = {node: _reachable(node, graph) for node in graph}
    found = {frozenset(x for x in reach[node] if node in reach[x]) for node in graph}
    return [set(one) for one in found if one]


def longest_chain(graph: Graph) -> list[str]:
    """The longest way along the arrows of a graph without circles."""

    @cache
    def longest(node: str) -> tuple[str, ...]:
        return (node, *max((longest(x) for x in sorted(graph[node])), key=len, default=()))

    return list(max((longest(node) for node in sorted(graph)), key=len))


def _imports(node: ast.AST, module: str, how: Import) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(one.name, how.hint, how.late) for one in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(name, how.hint, how.late) for name in _named(child, module))
        else:
            hint = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            inner = Import("", how.hint or hint, how.late or late)
            yield from _imports(child, module, inner)


def _named(node: ast.ImportFrom, module: str) -> Iterator[str]:
    assert node.level == 0, f"{module}: relative imports are not followed"
    assert node.module is not None
    for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        yield whole if whole in modules() else node.module


def _packages_of(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _reachable(start: str, graph: Graph) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph[node]
    return seen


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
