"""Rules about the package's code and its configs: everything that one names is in the package."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DRIVER = "bundle"
PACKAGE = "scripts"
DOTTED = re.compile(rf"\b{PACKAGE}(?:\.\w+)+")
IMPORT = re.compile(rf"\bfrom\s+({PACKAGE}[\w.]*)\s+import\s+(\w+)")


def broken_configs(folder: Path) -> Iterator[str]:
    """Every JSON file in `configs/`, profiles too: it can be read, patches something, and names what exists."""
    configs, modules = folder / "configs", modules_of(folder)
    for file in sorted(configs.rglob("*.json")):
        place = file.relative_to(folder)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{place} is no JSON: {error}"
            continue
        if not isinstance(content, dict):
            yield f"{place} is no table of keys"
            continue
        if file.parent != configs and not (configs / file.name).is_file():
            yield f"{place} patches no configs/{file.name}"
        for name in sorted({name for text in _strings(content) for name in _names_in(text)}):
            if not is_defined(name, modules):
                yield f"{place} names {name}, which is not in the package"


def broken_imports(folder: Path) -> Iterator[str]:
    """Every Python file in `scripts/`: its imports of `scripts` are in the package, none is of the driver."""
    modules = modules_of(folder)
    for file in sorted((folder / PACKAGE).rglob("*.py")):
        place = file.relative_to(folder)
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except SyntaxError as error:
            yield f"{place} is no Python: {error.msg}, line {error.lineno}"
            continue
        for name in sorted(set(_imported_names(tree, place))):
            package = name.split(".")[0]
            if package == DRIVER:
                yield f"{place} imports the driver, which is not in the package"
            elif package == PACKAGE and not is_defined(name, modules):
                yield f"{place} imports {name}, which is not in the package"


def modules_of(folder: Path) -> dict[str, set[str]]:
    """Dotted name of each module in `scripts/` -> the names that it defines; of one that is no Python, none."""
    modules = {}
    for file in sorted((folder / PACKAGE).rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except SyntaxError:
            tree = ast.Module(body=[], type_ignores=[])
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = _defined_names(tree)
    return modules


def is_defined(name: str, modules: Mapping[str, set[str]]) -> bool:
    """Whether a dotted name is a module, or something that a module defines.

    Args:
        name: such as "scripts.networks.segmenter.segmentation_network"; of a class's own names nothing is known.
        modules: see `modules_of`.
    """
    parts = name.split(".")
    lengths = [length for length in range(len(parts), 0, -1) if ".".join(parts[:length]) in modules]
    if not lengths:
        return False
    inner = parts[lengths[0] :]
    return not inner or inner[0] in modules[".".join(parts[: lengths[0]])]


def _defined_names(tree: ast.Module) -> set[str]:
    """Names at the top of a module."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


def _imported_names(tree: ast.Module, place: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, also inside functions; relative ones as they resolve."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = place.parts[: -node.level] if node.level else ()
            base = ".".join((*parents, *([node.module] if node.module else [])))
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _names_in(text: str) -> set[str]:
    """Dotted names of the package's code in a string of a config."""
    return {*DOTTED.findall(text), *(f"{module}.{name}" for module, name in IMPORT.findall(text))}


def _strings(value: Any) -> Iterator[str]:
    """Every string of a parsed JSON file, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
