"""The house holds: a module imports only from below, and nothing in the library prints, asserts or leaves."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "asrctl"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

# From the ground up. A module belongs to the longest entry that its name starts with, and imports from its own floor
# or from one below it.
FLOORS = (
    ("", "errors", "events", "fingerprint", "files", "compat", "interrupts", "schema", "parallel", "stat_cache")
    + ("glyphs", "os_errors", "redact", "secret_forms", "checksums", "memory", "free_memory", "containers", "telemetry")
    + ("json_shape", "locks", "names", "outputs", "ownership", "trees", "stretches", "levels", "command_lines")
    + ("suggestions", "reasons", "amounts"),
    ("workspace", "text", "audio", "utterances", "metrics", "prepared", "batches", "features", "devices"),
    ("model_config", "recipe", "recipe_checks", "preset_text", "presets", "augment", "configs", "models", "filterbank")
    + ("acoustics", "optimisation", "processor", "fitting", "weights", "weight_files", "weight_names")
    + ("hub", "architectures", "checkpoints", "runs", "inference", "engine"),
    ("corpora", "ipu"),
    ("backends",),
    ("exports", "stages"),
    ("cli",),
    ("__main__",),
)  # fmt: skip
FORBIDDEN_CALLS = {"print", "exit", "quit", "breakpoint"}
HEAVY = {"torch", "transformers", "datasets", "numpy", "pyarrow", "soundfile", "soxr", "poptorch", "rich", "yaml"}


def module_name(path):
    """asrctl/cli/app.py -> "cli.app"; asrctl/__init__.py -> ""."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(name):
    room = name.split(".")[0]
    for level, rooms in enumerate(FLOORS):
        if room in rooms:
            return level
    raise AssertionError(f"asrctl.{room} stands on no floor; give it a place in FLOORS")


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
                yield node.module[len("asrctl.") :]


@pytest.fixture(scope="module", params=MODULES, ids=lambda path: module_name(path) or "asrctl")
def module(request):
    text = request.param.read_text(encoding="utf-8")
    return module_name(request.param), text, ast.parse(text)


def test_imports_come_from_below(module):
    name, _, tree = module
    above = [other for other in imported(tree) if floor(other) > floor(name)]
    assert not above, f"asrctl.{name} imports from above: {above}"


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


def _is_sys(node):
    return isinstance(node, ast.Name) and node.id == "sys"


def lines(node):
    return node.end_lineno - node.lineno + 1
