"""Arrows point down: which module may import which. The source is read, not imported."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = "shelfmark"
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "lib" / PACKAGE

# A module imports only from a strictly lower floor or from its own subpackage. A new subpackage needs a line here.
FLOORS = {
    "core": 0,
    "config": 1,
    "ops": 1,
    "data": 2,
    "models": 2,
    "losses": 2,
    "optim": 2,
    "retrieval": 2,
    "parallel": 2,
    "engine": 3,
    "evaluation": 3,
    "calibration": 3,
    "discovery": 3,
    "predictions": 3,
    "cleaning": 3,
    "doctor": 3,
    "reports": 3,
    "shop": 3,
    "export": 3,
    "explain": 3,
    "recipe": 4,
    "runtime": 5,
    "pipelines": 6,
    "migrate": 6,
    "api": 7,
    "serving": 7,
    "cli": 8,
    "__main__": 9,
    "__init__": -1,  # the version, which everything may read; what it has of `api` is imported when it is asked for
}

# These import with torch and numpy alone, so that a loss or a metric can be used in any other program.
LIGHT = {"core", "ops", "losses", "__init__"}
LIGHT_PACKAGES = {"torch", "numpy"}

# Packages that may be missing or take seconds to import: only in the file that owns them, within a function.
# A room, with a slash at its end, owns what any of its files may import.
# To add one, name it here with its file, and say in docs/dependencies.md what it is for.
OWNED = {
    "faiss": "retrieval/faiss_module.py",
    "peft": "models/adapters.py",
    "pyarrow": "core/parquet.py",
    "pymilvus": "retrieval/stores/milvus_client.py",
    "milvus_lite": "retrieval/stores/milvus_client.py",
    "grpc": "retrieval/stores/milvus_client.py",
    "matplotlib": "reports/figures.py",
    "jinja2": "reports/html/environment.py",
    "markupsafe": "reports/html/environment.py",
    "albumentations": "data/saved_pipeline.py",
    "pytorch_metric_learning": "losses/pml.py",
    "scipy": "data/converters/cars196.py",
    "pillow_heif": "data/images.py",
    "sklearn": "discovery/clusterers/hdbscan.py",
    "infomap": "discovery/clusterers/infomap.py",
    "igraph": "discovery/clusterers/leiden.py",
    "leidenalg": "discovery/clusterers/leiden.py",
    "triton": "ops/soft_rank/kernels.py",
    "wandb": "engine/trackers/wandb_offline.py",
    "mlflow": "engine/trackers/mlflow_files.py",
    "lance": "data/sources/lance_package.py",
    "ray": "runtime/shards/ray_team.py",
    "onnx": "export/",
    "onnxscript": "export/",
    "onnxruntime": "export/",
    "fastapi": "serving/http/",
    "starlette": "serving/http/",
    "uvicorn": "serving/http/",
    "h11": "serving/http/",
    "prometheus_client": "serving/http/",
}

# Files, and folders of them, that mean nothing without the packages that they own: they import them at their top, and
# are themselves imported within functions, except by each other.
OPTIONAL_FILES = ("ops/soft_rank/kernels.py", "serving/http/")

# Files that are also copied to where this package is not installed; what they import late, a user there may lack.
STANDALONE = {"export/predict.py"}

# Packages that we import and that a declared dependency always brings.
BROUGHT_BY = {
    "huggingface_hub": "timm",
    "triton": "torch",
    "grpc": "pymilvus",
    "starlette": "fastapi",
    "h11": "uvicorn",
    "markupsafe": "jinja2",
    "mlflow": "mlflow-skinny",
}

# Every command has its own imports within its function, so that `--help` does not wait seconds for timm.
LATE = {"cli"}


@dataclass(frozen=True)
class Import:
    """One imported module. late: within a function. runtime: not under `if TYPE_CHECKING`."""

    path: str
    line: int
    importer: str
    target: str
    late: bool
    runtime: bool

    def breaks(self, rule: str) -> str:
        return f"{self.path}:{self.line} -> {self.target}: {rule}"


def imports_of(source: Path) -> list[Import]:
    """Every import of the package that lies in the folder `source`."""
    modules = {_module_name(source, path): path for path in sorted(source.rglob("*.py"))}
    names, rooms = set(modules), {_room(module) for module in modules}
    found: list[Import] = []
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        shown = path.relative_to(source).as_posix()
        for node, late, runtime in _imports_in(path.read_text(encoding="utf-8")):
            for target in _targets(node, package, names, rooms):
                found.append(Import(shown, node.lineno, name, target, late, runtime))
    return found


def arrow_violations(source: Path) -> list[str]:
    """Arrows that point up or sideways, and subpackages without a floor."""
    found = []
    for one in imports_of(source):
        here, there = _room(one.importer), _room(one.target)
        if not one.target.startswith(PACKAGE) or here == there:
            continue
        missing = [room for room in (here, there) if room not in FLOORS]
        if missing:
            found.append(one.breaks(f"{missing[0]!r} has no floor; add it to FLOORS in tests/test_architecture.py"))
        elif FLOORS[there] >= FLOORS[here]:
            way = "up" if FLOORS[there] > FLOORS[here] else "sideways"
            found.append(one.breaks(f"points {way}, from floor {FLOORS[here]} to floor {FLOORS[there]}"))
    return found


def relative_import_violations(source: Path) -> list[str]:
    """Relative imports that leave their subpackage."""
    found = []
    for path in sorted(source.rglob("*.py")):
        depth = len(path.relative_to(source).parts) - 1
        for node, _, _ in _imports_in(path.read_text(encoding="utf-8")):
            if isinstance(node, ast.ImportFrom) and node.level > depth:
                shown = path.relative_to(source).as_posix()
                found.append(f"{shown}:{node.lineno} -> {'.' * node.level}{node.module or ''}: leaves its subpackage")
    return found


def late_import_violations(source: Path) -> list[str]:
    """Imports within functions where nothing optional calls for one, and optional packages imported elsewhere."""
    found = []
    for one in imports_of(source):
        if _room(one.importer) in LATE:
            continue
        package = one.target.partition(".")[0]
        owner = OWNED.get(package)
        optional = _optional_of(one.path)
        is_late = one.late or optional is not None
        if owner is not None:
            is_owner = one.path.startswith(owner) if owner.endswith("/") else one.path == owner
            # Where this package is not installed, its owner is not there to be asked.
            if one.runtime and not (is_late and (is_owner or one.path in STANDALONE)):
                found.append(one.breaks(f"belongs to {owner}, within a function"))
        elif found_in := _optional_of(_path_of(one.target)):
            if not one.late and found_in != optional:
                found.append(one.breaks("needs a package that may be missing; import it within a function"))
        elif one.late and one.path not in STANDALONE:
            found.append(one.breaks("within a function; import at the top, or add the package to OWNED"))
    return found


def _optional_of(path: str) -> str | None:
    """The file or folder of OPTIONAL_FILES that a path is, or lies in."""
    return next((one for one in OPTIONAL_FILES if path == one or (one.endswith("/") and path.startswith(one))), None)


def _path_of(module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.").replace(".", "/") + ".py"


def cycle_violations(source: Path) -> list[str]:
    """Modules of one subpackage that import each other in a circle at import time."""
    graph: dict[str, set[str]] = {}
    for one in imports_of(source):
        if one.runtime and not one.late and _room(one.importer) == _room(one.target):
            graph.setdefault(one.importer, set()).add(one.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # In the order in which each imports the next.
        return [" -> ".join(reversed(error.args[1])) + ": a circle of imports"]
    return []


def weight_violations(source: Path) -> list[str]:
    """What the light subpackages import beyond torch, numpy, the standard library and each other."""
    found = []
    for one in imports_of(source):
        top = one.target.partition(".")[0]
        light = (
            _room(one.target) in LIGHT | {"__init__"}
            if top == PACKAGE
            else top in LIGHT_PACKAGES | sys.stdlib_module_names or OWNED.get(top) == one.path
        )
        if _room(one.importer) in LIGHT and not light:
            found.append(one.breaks(f"{_room(one.importer)} imports with torch and numpy alone"))
    return found


CHECKS = [
    arrow_violations,
    relative_import_violations,
    late_import_violations,
    cycle_violations,
    weight_violations,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_source_keeps_the_rules(check):
    assert check(SOURCE) == []


def test_the_source_that_is_read_is_not_empty():
    found = imports_of(SOURCE)
    assert {_room(one.importer) for one in found} >= {"core", "config", "recipe"}


@pytest.mark.parametrize(
    ("check", "files", "said"),
    [
        (
            arrow_violations,
            {"core/a.py": "import os\nfrom shelfmark.data.b import x", "data/b.py": ""},
            "core/a.py:2 -> shelfmark.data.b: points up, from floor 0 to floor 2",
        ),
        (
            arrow_violations,
            {"data/a.py": "def f():\n    import shelfmark.models.b", "models/b.py": ""},
            "data/a.py:2 -> shelfmark.models.b: points sideways, from floor 2 to floor 2",
        ),
        (
            arrow_violations,
            {"data/a.py": "from shelfmark import engine", "engine/__init__.py": ""},
            "data/a.py:1 -> shelfmark.engine: points up, from floor 2 to floor 3",
        ),
        (
            arrow_violations,
            {"data/a.py": "if TYPE_CHECKING:\n    from ..cli import b", "cli/b.py": ""},
            "data/a.py:2 -> shelfmark.cli.b: points up, from floor 2 to floor 8",
        ),
        (
            arrow_violations,
            {"__init__.py": "from shelfmark.core.a import x", "core/a.py": ""},
            "__init__.py:1 -> shelfmark.core.a: points up, from floor -1 to floor 0",
        ),
        (
            arrow_violations,
            {"attic/a.py": "from shelfmark.core.b import x", "core/b.py": ""},
            "attic/a.py:1 -> shelfmark.core.b: 'attic' has no floor; add it to FLOORS in tests/test_architecture.py",
        ),
        (
            relative_import_violations,
            {"data/shop/a.py": "from ...core import b", "core/b.py": ""},
            "data/shop/a.py:1 -> ...core: leaves its subpackage",
        ),
        (
            late_import_violations,
            {"data/a.py": "def f():\n    import json"},
            "data/a.py:2 -> json: within a function; import at the top, or add the package to OWNED",
        ),
        (
            late_import_violations,
            {"data/a.py": "def f():\n    import faiss.contrib"},
            "data/a.py:2 -> faiss.contrib: belongs to retrieval/faiss_module.py, within a function",
        ),
        (
            late_import_violations,
            {"retrieval/faiss_module.py": "import faiss"},
            "retrieval/faiss_module.py:1 -> faiss: belongs to retrieval/faiss_module.py, within a function",
        ),
        (
            late_import_violations,
            {"ops/soft_rank/a.py": "from shelfmark.ops.soft_rank import kernels", "ops/soft_rank/kernels.py": ""},
            "ops/soft_rank/a.py:1 -> shelfmark.ops.soft_rank.kernels: needs a package that may be missing;"
            " import it within a function",
        ),
        (
            late_import_violations,
            {"serving/a.py": "from shelfmark.serving.http import app", "serving/http/app.py": "import fastapi"},
            "serving/a.py:1 -> shelfmark.serving.http.app: needs a package that may be missing;"
            " import it within a function",
        ),
        (
            late_import_violations,
            {"serving/a.py": "import uvicorn"},
            "serving/a.py:1 -> uvicorn: belongs to serving/http/, within a function",
        ),
        (
            late_import_violations,
            {"ops/a.py": "def f():\n    import triton"},
            "ops/a.py:2 -> triton: belongs to ops/soft_rank/kernels.py, within a function",
        ),
        (
            cycle_violations,
            {
                "data/a.py": "from shelfmark.data import b",
                "data/b.py": "from .c import x",
                "data/c.py": "import shelfmark.data.a",
            },
            ": a circle of imports",
        ),
        (
            weight_violations,
            {"ops/a.py": "import numpy\nimport pandas"},
            "ops/a.py:2 -> pandas: ops imports with torch and numpy alone",
        ),
        (
            weight_violations,
            {"losses/a.py": "from shelfmark.config.b import x", "config/b.py": ""},
            "losses/a.py:1 -> shelfmark.config.b: losses imports with torch and numpy alone",
        ),
    ],
)
def test_a_made_up_house_that_breaks_a_rule_is_found_out(tmp_path, check, files, said):
    source = build(tmp_path, files)
    [violation] = check(source)
    assert violation.endswith(said)


def test_a_made_up_house_that_keeps_the_rules_passes(tmp_path):
    source = build(
        tmp_path,
        {
            "__init__.py": "__version__ = ''",
            "core/a.py": "import json\nfrom shelfmark import __version__\nimport torch.nn\nfrom numpy import pi",
            "data/shop/a.py": "from . import b\nfrom ..c import x\nfrom shelfmark.core import a",
            "data/shop/b.py": "",
            "data/c.py": "import cv2\nif TYPE_CHECKING:\n    from shelfmark.data.shop.a import x",
            "retrieval/faiss_module.py": "def f():\n    import faiss",
            "ops/soft_rank/kernels.py": "import triton",
            "ops/soft_rank/a.py": "def f():\n    from shelfmark.ops.soft_rank import kernels",
            "cli/a.py": "def f():\n    from shelfmark.data import c",
            "serving/http/app.py": "import fastapi\nfrom shelfmark.serving.http import metrics",
            "serving/http/metrics.py": "import prometheus_client",
            "__main__.py": "from shelfmark.cli.a import f",
        },
    )
    assert [violation for check in CHECKS for violation in check(source)] == []


def test_every_imported_package_is_a_declared_dependency():
    declared = _declared_dependencies()
    distributions = packages_distributions()
    for one in imports_of(SOURCE):
        top = one.target.partition(".")[0]
        if top != PACKAGE and top not in sys.stdlib_module_names:
            names = {_canonical(name) for name in (BROUGHT_BY.get(top), *distributions.get(top, (top,))) if name}
            assert names & declared, one.breaks("is no dependency in pyproject.toml")


def test_the_page_of_dependencies_has_a_row_for_each():
    rows = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines()
    named = {_canonical(row.split("|")[1].strip().strip("`")) for row in rows if row.startswith("| ")}
    assert _declared_dependencies() <= named


def test_losses_load_nothing_heavy():
    code = "import sys, shelfmark.parallel.launch, shelfmark.ops, shelfmark.losses; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    heavy = {"pandas", "pydantic", "timm", "torchvision", "cv2", "faiss", "yaml", "rich", "shelfmark.api"}
    assert not heavy & set(loaded)


def build(folder: Path, files: dict[str, str]) -> Path:
    source = folder / PACKAGE
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return source


def _declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    return {_canonical(re.split(r"[^A-Za-z0-9_-]", line)[0]) for line in [*project["dependencies"], *extras]}


def _canonical(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return name.lower().replace("_", "-")


@cache
def _imports_in(text: str) -> list[tuple[ast.stmt, bool, bool]]:
    # Every rule reads the whole source, and parsing takes most of it.
    return list(_import_nodes(ast.parse(text)))


def _module_name(source: Path, path: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join((PACKAGE, *parts)).removesuffix(".__init__")


def _room(module: str) -> str:
    """The subpackage that a module lies in; a module beside them counts by its own name."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _import_nodes(tree: ast.AST, late: bool = False, runtime: bool = True) -> Iterator[tuple[ast.stmt, bool, bool]]:
    """Each import statement, whether it is within a function, and whether it is carried out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, late, runtime
        elif isinstance(node, ast.expr):
            # No statement is within an expression.
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _import_nodes(ast.Module(node.body, []), late, False)
            yield from _import_nodes(ast.Module(node.orelse, []), late, runtime)
        else:
            within = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _import_nodes(node, late or within, runtime)


def _targets(node: ast.stmt, package: str, modules: set[str], rooms: set[str]) -> list[str]:
    """The modules that a statement imports: of `from a import b`, a.b where that is a module, else a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return [
        f"{base}.{alias.name}"
        if f"{base}.{alias.name}" in modules or (base == PACKAGE and alias.name in rooms)
        else base
        for alias in node.names
    ]
