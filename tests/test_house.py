"""The rules of the house that can be scanned. Every scan takes the folder it reads, so that it is also shown a planted violation.

A new module of the package fails here until it is given its floor in `FLOORS`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES, MAX_COLUMNS = 600, 140
CODE = {".py", ".pyx", ".pxd", ".pxi", ".pyi", ".c", ".h"}
GENERATED = "_core.c"

# From the ground up. A module imports from its own floor and from those below.
FLOORS = (
    {"checks", "plan", "_core"},
    {"ops", "reference", "arrays", "_config", "_threadpools"},
    {"backend"},
    {"init", "preprocessing", "losses", "optimizers", "schedules", "layers", "text", "model", "trainer", "callbacks", "history",
     "io", "export", "averaging", "checkpoint", "divergence", "interrupts", "loop", "many", "fingerprint", "plots", "curves", "curvature",
     "newton"},
    {"__init__", "__main__", "cli", "cli_train", "cli_search", "cli_diagnose", "cli_plot", "cli_ensemble", "sklearn", "benchmark",
     "datasets", "data", "table", "tabular", "gradcheck", "hessiancheck", "range_test", "diagnostics", "dropout", "second_order", "bins",
     "distribution", "binned", "space", "search", "search_training", "search_result",
     "trials", "ensemble", "snapshots"},
)

# Doors with a list of guests: everyone else reaches the kernels through `backend`.
GUESTS = {
    "_core": {"ops", "_config", "_threadpools", "trainer", "benchmark", "__init__"},
    "ops": {"backend", "__init__"},
    "reference": {"backend"},
}

# Forges hostile files to show that they are refused.
FORGERS = {"test_io.py"}
FOREIGN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
RANDOM_STATE_FREE = {"default_rng", "Generator", "BitGenerator", "SeedSequence", "Philox", "PCG64"}
OPTIONAL = ("tqdm", "safetensors", "matplotlib", "scipy", "sklearn", "torch", "pandas", "pytest", "hypothesis", "Cython", "threadpoolctl",
            "joblib")


def floor_of(module: str) -> int | None:
    return next((level for level, modules in enumerate(FLOORS) if module in modules), None)


def imports(tree: ast.Module) -> Iterator[tuple[ast.AST, str, tuple[str, ...], bool]]:
    """Yield `(node, dotted module with leading dots, names, lazy)`; lazy is inside a function or under TYPE_CHECKING."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[ast.AST, str, tuple[str, ...], bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child, alias.name, (), lazy
            elif isinstance(child, ast.ImportFrom):
                yield child, "." * child.level + (child.module or ""), tuple(alias.name for alias in child.names), lazy
            else:
                typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                yield from walk(child, lazy or typing_only or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))

    return walk(tree, False)


def own_modules(dotted: str, names: tuple[str, ...], modules: set[str]) -> list[str]:
    """The package's modules that an import reaches: `.` and `fastnn` stand for the package itself."""
    inner = re.sub(r"^(\.|fastnn\b)\.?", "", dotted)
    if inner == dotted:
        return []
    if inner:
        return [inner.split(".")[0]]
    return sorted({name if name in modules else "__init__" for name in names or ("__init__",)})


def import_directions(package: Path) -> list[str]:
    """Who looks up, who goes round `backend`, and who needs an optional package to be imported."""
    found = []
    known = set().union(*FLOORS)
    paths = sorted(package.glob("*.py"))
    modules = known | {path.stem for path in paths}
    for path in paths:
        importer, level = path.stem, floor_of(path.stem)
        if level is None:
            found.append(f"{path.name}: has no floor")
            continue
        for node, dotted, names, lazy in imports(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{node.lineno}"  # type: ignore[attr-defined]
            own = own_modules(dotted, names, modules)
            for imported in own:
                target = floor_of(imported)
                if target is not None and target > level:
                    found.append(f"{where}: {importer} looks up to {imported}")
                if imported in GUESTS and importer not in GUESTS[imported]:
                    found.append(f"{where}: {importer} reaches {imported} itself")
            top = dotted.split(".")[0]
            if not own and not lazy and top != "numpy" and top not in sys.stdlib_module_names:
                found.append(f"{where}: optional package {top} at module level")
    return found


def forbidden_python(folder: Path) -> list[str]:
    """Pickle in any coat, code made from strings, NumPy's global random state."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            reason = _forbidden(node)
            if reason and not ("pickle" in reason and path.name in FORGERS):
                found.append(f"{path.relative_to(folder)}:{node.lineno}: {reason}")  # type: ignore[attr-defined]
    return found


def _forbidden(node: ast.AST) -> str | None:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.ImportFrom) and node.module == "joblib":
            names += [f"joblib.{alias.name}: pickle" for alias in node.names if alias.name in {"dump", "load"}]
        return next((f"import {name}" for name in names if name.split(".")[0] in FOREIGN_MODULES or name.endswith(": pickle")), None)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "__import__"}:
            return f"{node.func.id}("
        if any(key.arg == "allow_pickle" and ast.unparse(key.value) != "False" for key in node.keywords):
            return "allow_pickle"
    if isinstance(node, ast.Attribute) and ast.unparse(node) in {"joblib.dump", "joblib.load"}:
        return f"{ast.unparse(node)} is pickle"
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"} and node.attr not in RANDOM_STATE_FREE:
        return f"np.random.{node.attr} uses the global random state"
    return None


def files_too_long(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in CODE and path.name != GENERATED:
            lines = path.read_text(encoding="utf-8").count("\n")
            if lines > MAX_LINES:
                found.append(f"{path.relative_to(folder)}: {lines} lines")
    return found


def lines_too_wide(folder: Path) -> list[str]:
    """Lines of C and Cython; Python's are the linter's."""
    return [f"{path.relative_to(folder)}:{number}: {len(line)} columns"
            for path in sorted(folder.rglob("*")) if path.suffix in CODE and path.name != GENERATED
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if len(line) > MAX_COLUMNS]


def foreign_c(folder: Path) -> list[str]:
    """Headers of Python or NumPy, and external symbols without the prefix `fnn_`.

    A name in capitals is a macro at work, whose result cannot be read here; `.ci/check symbols` reads the object files.
    """
    found = []
    for path in sorted([*folder.rglob("*.c"), *folder.rglob("*.h")]):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(folder)
        found += [f"{name}: {line.strip()}" for line in text.splitlines() if re.match(r'\s*#\s*include\s*[<"](Python\.h|numpy/)', line)]
        found += [f"{name}: external symbol {symbol}" for symbol in external_symbols(text) if not re.match(r"fnn_|[A-Z0-9_]+$", symbol)]
    return found


def external_symbols(text: str) -> list[str]:
    """Names that the top-level declarations of C source give external linkage."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", '""', text)
    text = re.sub(r'extern\s+""\s*\{', "", text)  # the C++ guard around a header opens no scope
    symbols = []
    for declaration in _top_level(text):
        words = re.sub(r"__attribute__\s*\(\(.*?\)\)|\b_?Alignas\s*\([^)]*\)|_Pragma\s*\([^)]*\)", " ", declaration).strip()
        if not words or re.match(r"(static|typedef|_Static_assert)\b|(struct|union|enum)(\s+\w+)?(\s*\{\})?$", words):
            continue
        head = re.split(r"=", words)[0]
        match = re.search(r"(\w+)\s*(?:\([^()]*\)\s*)*\(", head) or re.search(r"(\w+)\s*(?:\[[^\]]*\]\s*)*$", head)
        if match:
            symbols.append(match.group(1))
    return symbols


def _top_level(text: str) -> Iterator[str]:
    """Top-level declarations, braces emptied; a body that closes a function ends its declaration."""
    depth, start = 0, ""
    for i, character in enumerate(text):
        if character == "{":
            depth += 1
            start += "{" if depth == 1 else ""
        elif character == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                start += "}"
                following = text[i + 1 :].lstrip()[:1]
                if re.search(r"\)[^=]*\{\}$", start) and following not in {",", ";"}:
                    yield start
                    start = ""
        elif depth == 0:
            if character == ";":
                yield start
                start = ""
            else:
                start += character


def machine_paths(folder: Path) -> list[str]:
    """Paths that exist on one person's machine only."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in CODE | {".md", ".toml", ".yml", ".ini", ".sh"} and path.name != GENERATED:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(r"(?<![\w.])/(?:work|home|root|Users)/\w", line):
                    found.append(f"{path.relative_to(folder)}:{number}")
    return found


# ---------------------------------------------------------------------------------------------------------------------------------
# The house as it stands


def test_imports_go_down():
    assert import_directions(ROOT / "fastnn") == []


@pytest.mark.parametrize("folder", ["fastnn", "tests", "bench", "examples"])
def test_no_pickle_no_eval_no_global_random_state(folder):
    assert forbidden_python(ROOT / folder) == []


@pytest.mark.parametrize("folder", ["fastnn", "csrc", "tests", "bench"])
def test_no_file_is_long(folder):
    assert files_too_long(ROOT / folder) == []


@pytest.mark.parametrize("folder", ["fastnn", "csrc", "tests", "bench"])
def test_no_line_is_wide(folder):
    assert lines_too_wide(ROOT / folder) == []


def test_csrc_is_plain_c_with_one_prefix():
    assert foreign_c(ROOT / "csrc") == []


@pytest.mark.parametrize("folder", ["fastnn", "csrc", "tests", "bench", "examples", "docs", ".github"])
def test_no_path_of_one_machine(folder):
    assert machine_paths(ROOT / folder) == []


@pytest.mark.parametrize("folder", ["fastnn", "csrc", "tests", "bench"])
def test_the_folders_are_there_to_be_scanned(folder):
    assert [path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".c"}]


def test_import_loads_no_optional_package(tmp_path):
    code = "import sys, fastnn; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert "fastnn" in loaded
    assert not set(loaded) & set(OPTIONAL)


# ---------------------------------------------------------------------------------------------------------------------------------
# Each scan sees a planted violation, and lets its honest neighbour pass

PLANTED: list[tuple[Callable[[Path], list[str]], str, str, str]] = [
    (import_directions, "model.py", "from .sklearn import MLPClassifier", "looks up"),
    (import_directions, "model.py", "from . import cli", "looks up"),
    (import_directions, "model.py", "import fastnn", "looks up"),
    (import_directions, "losses.py", "def late():\n    from fastnn.search import RandomSearch", "looks up"),
    (import_directions, "checks.py", "from . import backend", "looks up"),
    (import_directions, "losses.py", "from .ops import l2_loss", "reaches ops"),
    (import_directions, "losses.py", "from . import reference", "reaches reference"),
    (import_directions, "model.py", "def late():\n    from fastnn import _core", "reaches _core"),
    (import_directions, "gradcheck.py", "from .ops import relu_forward", "reaches ops"),
    (import_directions, "cli.py", "import tqdm", "optional package tqdm"),
    (import_directions, "cli.py", "try:\n    from scipy import sparse\nexcept ImportError:\n    sparse = None", "optional package scipy"),
    (import_directions, "novelty.py", "import math", "has no floor"),
    (forbidden_python, "a.py", "import pickle", "pickle"),
    (forbidden_python, "a.py", "from pickle import loads", "pickle"),
    (forbidden_python, "a.py", "import joblib\njoblib.dump(1, 'a')", "pickle"),
    (forbidden_python, "a.py", "from joblib import load", "pickle"),
    (forbidden_python, "a.py", "def f(x):\n    return eval(x)", "eval("),
    (forbidden_python, "a.py", "exec('1')", "exec("),
    (forbidden_python, "test_io.py", "import pickle\nexec('1')", "exec("),
    (forbidden_python, "a.py", "import numpy as np\nnp.load('a.npz', allow_pickle=True)", "allow_pickle"),
    (forbidden_python, "a.py", "import numpy as np\nnp.random.seed(0)", "global random state"),
    (forbidden_python, "a.py", "import numpy\nx = numpy.random.rand(3)", "global random state"),
    (files_too_long, "a.py", "\n" * (MAX_LINES + 1), "lines"),
    (files_too_long, "a.h", "\n" * (MAX_LINES + 1), "lines"),
    (lines_too_wide, "a.c", "int x;\n" + "/" * (MAX_COLUMNS + 1), "a.c:2"),
    (lines_too_wide, "a.pxi", "#" * (MAX_COLUMNS + 1), "columns"),
    (foreign_c, "a.c", "#include <Python.h>\n", "Python.h"),
    (foreign_c, "a.h", '# include "numpy/arrayobject.h"\n', "numpy"),
    (foreign_c, "a.c", "int gemm(void) { return 0; }\n", "external symbol gemm"),
    (foreign_c, "a.c", "static int f(void) { if (1) { return 0; } return 1; }\nvoid *g(int a,\n int b) { }", "external symbol g"),
    (foreign_c, "a.c", "const struct fnn_kernels table = { .a = 1, .b = { 2 } };\n", "external symbol table"),
    (foreign_c, "a.c", "int counter;\n", "external symbol counter"),
    (foreign_c, "a.h", '#ifdef __cplusplus\nextern "C" {\n#endif\nint late(int x);\n', "external symbol late"),
    (machine_paths, "a.py", f"folder = '{'/'}home/someone/net.npz'", "a.py:1"),
    (machine_paths, "a.md", f"run {'/'}work/main/.ci/run", "a.md:1"),
]

HONEST: list[tuple[Callable[[Path], list[str]], str, str]] = [
    (import_directions, "model.py", "import numpy as np\nfrom . import checks\nfrom .backend import kernels\nfrom fastnn.init import make"),
    (import_directions, "trainer.py", "from . import _core"),
    (import_directions, "backend.py", "def choose():\n    from . import ops, reference"),
    (import_directions, "cli.py", "from . import __version__\nfrom .model import MLP\ndef late():\n    import tqdm"),
    (import_directions, "plots.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib"),
    (forbidden_python, "a.py", "from joblib import Parallel"),
    (forbidden_python, "a.py", "import numpy as np\nre.compile('eval(')\nnp.random.default_rng(0)\nnp.load('a', allow_pickle=False)"),
    (files_too_long, "a.py", "\n" * MAX_LINES),
    (lines_too_wide, "a.c", "/" * MAX_COLUMNS),
    (foreign_c, "a.c", "#include <stdint.h>\n// int gemm(void);\nstatic int gemm(void) { return 0; }\nint fnn_gemm(int a) { return a; }\n"),
    (foreign_c, "a.c", "typedef struct { int a; } pair;\nstruct fnn_pair { int b; };\n"
     "const struct fnn_pair fnn_pairs[2] = { { 1 }, { 2 } };\n"),
    (foreign_c, "a.c", "static const char *text = \"int f(void) {\";\n#define SUM(a, b) \\\n  int sum(a, b);\n"),
    (machine_paths, "a.md", "see https://example.org/home/page and csrc/work/unit"),
]


@pytest.mark.parametrize(("scan", "name", "text", "sentence"), PLANTED)
def test_scan_finds_what_is_planted(tmp_path, scan, name, text, sentence):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = scan(tmp_path)
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize(("scan", "name", "text"), HONEST)
def test_scan_lets_honest_files_pass(tmp_path, scan, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert scan(tmp_path) == []
