"""The directions of the house: which package, and which room of it, may know which."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.import_graph import (
    PACKAGES,
    ROOT,
    chain_to,
    circles,
    closure,
    graph_of,
    imports_of,
    longest_chain,
    modules,
)

ALLOWED = {
    "models": {"models"},
    "streaming": {"streaming"},
    "service": {"service", "models", "streaming"},
    "benchmarks": {"benchmarks", "service", "models", "streaming"},
}
NEVER = {
    "models": {"asyncio", "fastapi", "aiortc", "av", "uvicorn", "socket"},
    "streaming": {"torch", "fastapi", "sam2"},
    "service": {"torch", "sam2"},
    "benchmarks": set(),
}
# A room's modules, and the rooms that they may import; `ground` is what lies in no room.
TO_METHOD = {"ground", "backbone", "learner", "instances", "method"}
ROOMS: dict[str, dict[str, set[str]]] = {
    "models": {
        "ground": set(),
        "phantom": {"ground"},
        "volumes": {"ground"},
        "datasets": {"ground", "phantom", "volumes"},
        "backbone": {"ground"},
        "learner": {"ground", "backbone"},
        "instances": {"ground", "backbone"},
        "method": TO_METHOD - {"method"},
        "engines": TO_METHOD,
        "tracking": TO_METHOD | {"engines"},
        "fitting": TO_METHOD | {"datasets", "phantom"},
        "training": TO_METHOD | {"fitting", "phantom"},
    },
    "service": {
        "ground": set(),
        "model": {"ground"},
        "live": {"ground", "model"},
        "http": {"ground", "model", "live"},
        "offline": {"ground"},
        "commands": {"ground", "model", "http", "offline"},
    },
}
MOST_FLOORS = 7


def room_of(module: str) -> str:
    """The room of a package that a module lies in."""
    inside = modules()[module].relative_to(ROOT).parts[1:]
    return inside[0] if len(inside) > 1 else "ground"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_in_the_directions_of_the_house(package: str) -> None:
    for module in graph_of(package):
        for one in imports_of(module):
            imported = one.name.split(".")[0]
            assert imported not in set(ALLOWED) - ALLOWED[package], f"{module} imports {one.name}"
            assert imported not in NEVER[package], f"{module} imports {one.name}"


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_what_the_table_allows(package: str) -> None:
    """At the top, in a function or for a hint: a reader follows them all."""
    table, wrong = ROOMS[package], []
    for module, imported in graph_of(package).items():
        room = room_of(module)
        assert room in table, f"{module} is in a room that the table does not know"
        allowed = table[room] | {room}
        wrong += [f"{module} -> {one}" for one in sorted(imported) if room_of(one) not in allowed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    """Neither when they are loaded nor in their hints."""
    found = [" <-> ".join(sorted(one)) for one in circles(graph_of(package))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", ROOMS)
def test_a_package_has_few_floors(package: str) -> None:
    table = {room: frozenset(allowed) for room, allowed in ROOMS[package].items()}
    assert circles(table) == []
    chain = longest_chain(table)
    assert len(chain) <= MOST_FLOORS, " -> ".join(chain)


# What runs in the process that serves viewers; what the warm tracker imports runs in the model's.
SERVING = ("service.commands.main", "service.http.server", "service.http.app")
HEAVY = ("torch", "sam2")
IN_THE_MODELS_PROCESS = {"service.model.warm_tracker"}

LOADED = """
import re, sys
def mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = mb()
from service.http.app import create_app
from service.http.server import serve
from service.settings import Settings
create_app(Settings())
print(f"{before:.0f} -> {mb():.0f} MB")
print(*({"torch", "sam2"} & set(sys.modules)))
"""


@pytest.mark.parametrize("heavy", HEAVY)
def test_no_way_leads_from_serving_viewers_to_the_network(heavy: str) -> None:
    commands = {name for name in modules() if name.startswith("service.commands.")}
    late = commands | IN_THE_MODELS_PROCESS  # each command imports what it needs
    reached = closure(SERVING, but_late_in=late)
    found = [name for name in reached if name.split(".")[0] == heavy]
    assert not found, chain_to(found[0], reached)


def test_the_process_that_serves_viewers_loads_no_network() -> None:
    """As it is in memory, where packages of others might have loaded it."""
    run = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    memory, heavy = run.stdout.splitlines()
    print(memory)
    assert heavy == "", f"{heavy} is loaded, {memory}"


def test_only_settings_read_the_environment() -> None:
    for package in ("models", "streaming", "service"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "settings.py":
                assert "os.environ" not in path.read_text(), path


def test_weights_are_never_unpickled_with_code() -> None:
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), path


def test_no_test_helper_bears_the_name_of_a_module_of_ours() -> None:
    ours = {name.split(".")[-1] for name in modules()}
    helpers = {path.stem for path in (ROOT / "tests/support").glob("*.py")} - {"__init__"}
    assert not ours & helpers
