"""Find what breaks the walls of the house: which package may import which, and by what name.

Imports in functions and under TYPE_CHECKING count like those at module level, except for circles: a circle is only what
runs while a module is imported.
"""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

WALLS = ("entries", "circle", "floor", "door", "private", "native", "lab")
MAX_ENTRIES = 13
FLOORS = ("core", "codes transport", "votes data", "robustness rules", "schemes", "election hooks", "optim", "adapters")
FLOOR = {room: floor for floor, rooms in enumerate((*FLOORS, "__init__", "lab __main__")) for room in rooms.split()}
BELOW = {room: {other for other in FLOOR if FLOOR[other] < FLOOR[room]} for room in FLOOR}
BELOW |= {"transport": set(), "data": {"core", "codes"}}
NATIVE = {"_core", "_cuda", "_cuda_emulated"}


def broken(files: dict[str, str]) -> dict[str, list[str]]:
    """Return what breaks each wall, given the source of every file ("votes/tally.py") of the package."""
    found: dict[str, list[str]] = defaultdict(list)
    entries = {path.split("/")[0] for path in files} - {"__init__.py", "__main__.py", "py.typed"}
    if len(entries) > MAX_ENTRIES:
        found["entries"].append(f"electioncode/: {len(entries)} entries, more than {MAX_ENTRIES}: {sorted(entries)}")
    sources = {f"electioncode/{path}": source for path, source in files.items() if path.endswith(".py")}
    path_of = {path[:-3].removesuffix("/__init__").replace("/", "."): path for path in sources}
    needs: dict[str, set[str]] = {path: set() for path in sources}
    for path, source in sources.items():
        mine, tree, foreign = path.split("/")[1].removesuffix(".py"), ast.parse(source), set()
        may_name_native = path == "electioncode/core/native.py"
        for line, module, name, bound, runs in imports(tree, path.split("/")[:-1]):
            whole = f"{module}.{name}" if name else module
            target = whole if whole in path_of else module
            top, its = target.split(".")[0], (*target.split("."), "__init__")[1]
            here, names = f"{path}:{line}: imports {whole}", whole.split(".")
            if mine != "lab" and (names[:2] == ["electioncode", "lab"] or top in ("argparse", "matplotlib")):
                found["lab"].append(f"{here}, as lab/ alone does")
            if NATIVE & set(names):
                found["native"] += [] if may_name_native else [f"{here}, as core/native.py alone does"]
                continue
            if top != "electioncode":
                continue
            if runs and target in path_of and path_of[target] != path:
                needs[path].add(path_of[target])
            if its == mine:
                continue
            foreign.add(bound)
            if its not in BELOW.get(mine, ()):
                found["floor"].append(f"{here}: {its} is not below {mine}")
            if module.count(".") > 1 and module != "electioncode.robustness.planning":
                found["door"].append(f"{here} and not by its door, electioncode.{its}")
            if any(map(private, names)):
                found["private"].append(f"{here}, a private name of another package")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr) and root_of(node) in foreign:
                found["private"].append(f"{path}:{node.lineno}: names {ast.unparse(node)}, private to another package")
            named = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else ""
            if str(named).removeprefix("electioncode.core.") in NATIVE and not may_name_native:
                found["native"].append(f"{path}:{node.lineno}: names {named}, as core/native.py alone does")
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        found["circle"].append(" -> ".join(reversed(error.args[1])))
    return found


def imports(node: ast.AST, package: list[str], runs: bool = True) -> Iterator[tuple[int, str, str | None, str, bool]]:
    """Yield (line, module, imported name or None, bound name, whether it runs while the module is imported)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for a in child.names:
                yield child.lineno, a.name, None, a.asname or a.name.split(".")[0], runs
        elif isinstance(child, ast.ImportFrom):
            parents: Iterable[str] = package[: len(package) + 1 - child.level] if child.level else ()
            for a in child.names:
                module = ".".join([*parents, *filter(None, [child.module])])
                yield child.lineno, module, a.name, a.asname or a.name, runs
        else:
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            later = typing or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from imports(child, package, runs and not later)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def root_of(node: ast.expr) -> str:
    """Return the first name of a chain like a.b.c, and "" for any other expression."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
