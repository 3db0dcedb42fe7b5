"""The house holds: a module imports only from below, and nothing in the library prints, asserts or leaves."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "asrctl"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

# From the ground up. A room imports from itself and from those before it; modules outside any room are the ground.
ROOMS = (
    "",
    "messages",
    "runtime",
    "storage",
    "config",
    "data",
    "models",
    "language_models",
    "evaluation",
    "alignment",
    "training",
    "ipu",
    "export",
    "reports",
    "commands",
    "cli",
)
FORBIDDEN_CALLS = {"print", "exit", "quit", "breakpoint"}
HEAVY = {"torch", "transformers", "datasets", "numpy", "pyarrow", "soundfile", "soxr", "poptorch", "rich", "yaml"}


def module_name(path):
    """asrctl/cli/app.py -> "cli.app"; asrctl/__init__.py -> ""."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name):
    """cli.app -> cli; errors -> "", the ground."""
    return name.split(".")[0] if "." in name or (PACKAGE / name).is_dir() else ""


def imported(tree):
    """Names of the asrctl modules that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name[len("asrctl.") :] for alias in node.names if alias.name.startswith("asrctl."))
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, "imports from another room name the whole package"
            if node.module == "asrctl":
                yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
            elif not node.level and (node.module or "").startswith("asrctl."):
                base = node.module[len("asrctl.") :]
                yield from (f"{base}.{name.name}" if f"{base}.{name.name}" in NAMES else base for name in node.names)


NAMES = {module_name(path): path for path in MODULES if path.name != "__init__.py" or module_name(path)}


@pytest.fixture(scope="module", params=MODULES, ids=lambda path: module_name(path) or "asrctl")
def module(request):
    text = request.param.read_text(encoding="utf-8")
    return module_name(request.param), text, ast.parse(text)


def test_imports_come_from_below(module):
    name, _, tree = module
    above = [other for other in imported(tree) if ROOMS.index(room(other)) > ROOMS.index(room(name))]
    assert not above or name == "__main__", f"asrctl.{name} imports from above: {above}"


def test_no_files_import_each_other_in_a_circle():
    """Also not in the bodies of functions: a circle is two halves of one thing."""
    below = {name: set(imported(ast.parse(path.read_text(encoding="utf-8")))) for name, path in NAMES.items()}
    while True:
        leaves = {name for name, others in below.items() if not others & set(below)}
        if not leaves:
            break
        below = {name: others for name, others in below.items() if name not in leaves}
    assert not below, f"these files import each other, or such as do: {sorted(below)}"


# What is done in one place, by the module or function that does it.
ONE_PLACE = {
    "fcntl": {"storage.flock"},
    # Models, and data sets.
    "huggingface_hub": {"storage.hub", "storage.remote.hub", "data.reading.hub.snapshot"},
    "os.rename": {"storage.atomic"},
    # The others give a single file its name, over what lies there.
    "os.replace": {
        "storage.files",
        "storage.remote.fetching",
        "data.reading.download",
        "data.manifest",
        "export.delivery",
    },
}


def test_what_is_done_in_one_place_is_done_there(module):
    name, _, tree = module
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.split(".")[0], *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    elsewhere = [what for what in found & set(ONE_PLACE) if name not in ONE_PLACE[what]]
    assert not elsewhere, f"asrctl.{name} does what another place does: {elsewhere}"


def test_only_commands_know_typer_and_rich(module):
    name, _, tree = module
    tops = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    tops |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert name.startswith("cli") or not tops & {"typer", "rich", "click"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=module_name)
def test_commands_import_nothing_heavy_at_their_top(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tops = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    tops |= {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    assert not tops & HEAVY


def at_top(tree):
    """Names of all that a module imports when it is imported itself: nothing in functions, nor for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


CORPORA = sorted((PACKAGE / "data" / "corpora").glob("*.py"))


@pytest.mark.parametrize("path", CORPORA, ids=module_name)
def test_corpora_import_nothing_heavy(path):
    """All of them are loaded to read the command line and for the help, and so is what they import in turn."""
    waiting, seen = [(path, ())], set()
    while waiting:
        module, above = waiting.pop()
        way = (*above, module_name(module))
        for name in at_top(ast.parse(module.read_text(encoding="utf-8"))):
            assert name.split(".")[0] not in HEAVY, f"{' -> '.join(way)} -> {name}: import it in the function"
            inner = name[len("asrctl.") :] if name.startswith("asrctl.") else ""
            found = NAMES.get(inner) or NAMES.get(inner.rpartition(".")[0])
            if found is not None and found not in seen:
                seen.add(found)
                waiting.append((found, way))


def test_nothing_prints_asserts_or_leaves(module):
    name, _, tree = module
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append(f"line {node.lineno}: assert")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(f"line {node.lineno}: {node.func.id}()")
        elif isinstance(node, ast.Attribute) and node.attr == "exit" and _is_sys(node.value):
            found.append(f"line {node.lineno}: sys.exit")
        elif isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body):
            found.append(f"line {node.lineno}: a swallowed exception")
    assert not found, f"asrctl.{name}: {found}"


def test_a_function_fits_a_screen_and_a_file_a_sitting(module):
    name, text, tree = module
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = {node.name: lines(node) for node in functions if lines(node) > MAX_FUNCTION_LINES}
    assert not long, f"asrctl.{name}: functions of more than {MAX_FUNCTION_LINES} lines: {long}"
    assert len(text.splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/reliability.md", "docs/ipu.md"])
def test_a_page_names_files_that_are_there(page):
    text = (PACKAGE.parent / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+/[a-z_]+\.py)`", text))
    assert named
    missing = [name for name in named if not ((PACKAGE / name).exists() or (PACKAGE.parent / name).exists())]
    assert not missing


def _is_sys(node):
    return isinstance(node, ast.Name) and node.id == "sys"


def lines(node):
    return node.end_lineno - node.lineno + 1
