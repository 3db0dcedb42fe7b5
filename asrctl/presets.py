"""Find, extend and validate presets; preset + overrides -> Recipe."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import yaml

from asrctl import files
from asrctl.errors import BadData, PresetError
from asrctl.recipe import Recipe, cross_checks
from asrctl.redact import redact
from asrctl.schema import Problem, build, did_you_mean

MAX_BYTES = 100_000
MAX_DEPTH = 20
_TOO_DEEP = "it is nested too deeply"
# What PyYAML raises; the last are those of dates and numbers that are none.
_YAML_ERRORS = (
    yaml.YAMLError,
    RecursionError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
)
# A preset that extends another one is not what the other one describes.
_OF_ONE_FILE = ("extends", "description")
# The source of a value that was typed.
SET = "--set"
_FIX_LIST = "see `asrctl presets list`, or give the path of a YAML file"


@dataclass(frozen=True)
class PresetInfo:
    """A preset that can be named. origin: workspace, environment, user or built-in."""

    name: str
    description: str
    path: Path
    origin: str


@dataclass(frozen=True)
class Resolved:
    """A recipe and where each value came from ({dotted key: preset file, "--set" or "pod"}; the rest are defaults)."""

    recipe: Recipe
    sources: Mapping[str, str]
    path: Path
    notes: Tuple[str, ...] = ()


@dataclass
class _Layer:
    """One YAML file: its values, and the line of each dotted key."""

    path: Path
    values: Dict[str, Any]
    lines: Dict[str, int] = field(default_factory=dict)


# -- finding ----------------------------------------------------------------------------------------------------------


def search_folders(workspace: Optional[Path] = None) -> List[Tuple[str, Path]]:
    """(origin, folder) in the order they are searched."""
    folders = []
    if workspace is not None:
        folders.append(("workspace", Path(workspace) / "presets"))
    if os.environ.get("ASRCTL_PRESETS"):
        folders.append(("environment", Path(os.environ["ASRCTL_PRESETS"])))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or files.expanded("~/.config"))
    folders.append(("user", config / "asrctl" / "presets"))
    package = Path(__file__).parent
    installed = package / "builtin_presets"
    folders.append(("built-in", installed if installed.is_dir() else package.parent / "presets"))
    return folders


def available(workspace: Optional[Path] = None) -> List[PresetInfo]:
    """Every preset that can be named, first found first; a file that can not be read is listed with its problem."""
    found: Dict[str, PresetInfo] = {}
    for origin, folder in search_folders(workspace):
        for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else []:
            if path.stem not in found:
                found[path.stem] = PresetInfo(path.stem, _describe(path), path, origin)
    return list(found.values())


def _describe(path: Path) -> str:
    try:
        values = _read(path).values
    except PresetError as error:
        return f"(unusable: {error.message})"
    parent = values.get("extends")
    return str(values.get("description") or (f"extends {parent}" if parent else ""))


def find(name: str, workspace: Optional[Path] = None, beside: Optional[Path] = None) -> Path:
    """The file of a preset: a path, or a name to search for (first `beside` the file that extends it)."""
    looks_like_path = name.endswith((".yaml", ".yml")) or os.sep in name
    if looks_like_path:
        path = files.expanded(name)
        path = beside / path if beside is not None and not path.is_absolute() else path
        if not files.is_file(path):
            raise PresetError(f"there is no preset file {path}", fix=_FIX_LIST)
        return path
    folders = ([("beside", beside)] if beside is not None else []) + search_folders(workspace)
    for _, folder in folders:
        path = folder / f"{name}.yaml"
        if files.is_file(path):
            return path
    known = sorted({path.stem for _, folder in search_folders(workspace) for path in folder.glob("*.yaml")})
    raise PresetError(f"there is no preset called {name!r}{did_you_mean(name, known)}", fix=_FIX_LIST)


def is_preset(path: Path) -> bool:
    """Whether a file holds the keys of a preset, whatever their values, and nothing else."""
    try:
        keys = set(_read(path).values)
    except PresetError:
        return False
    return bool(keys) and keys <= {*_OF_ONE_FILE, *(field.name for field in dataclasses.fields(Recipe))}


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> _Layer:
    try:
        text = files.read_bytes(path, fix=_FIX_LIST, most=MAX_BYTES).decode("utf-8")
        node = yaml.compose(text, Loader=_Loader)
        lines: Dict[str, int] = {}
        _collect_lines(node, "", lines, path)
        values = _Loader("").construct_document(node) if node is not None else {}
    except BadData as error:
        raise PresetError(error.message, fix=error.fix) from None
    except _YAML_ERRORS as error:
        message = " ".join(str(error).split())
        raise PresetError(f"{path} is not valid YAML ({message[:200]})", fix="correct the file at that place") from None
    if not isinstance(values, dict):
        raise PresetError(f"{path} is not a preset: it holds no keys", fix="see `asrctl presets show tiny-cpu` for one")
    return _Layer(path, values, lines)


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases, of which a few nested ones can stand for gigabytes, and of bounded depth."""

    _depth = 0

    def fetch_flow_collection_start(self, token: Any) -> None:
        # The scanner looks ahead, in time that grows with the square of the brackets.
        if self.flow_level >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="presets take no YAML aliases (*name)", problem_mark=event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.peek_event().start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _number(constructed: Any) -> Any:
    """YAML 1.1 reads 010 as 8 and 1:30 as 90, which nobody means. They stay text, which becomes ten, or is refused."""

    def construct(loader: Any, node: Any) -> Any:
        return node.value if re.match(r"[-+]?0[0-9_]|.*:", node.value) else constructed(loader, node)

    return construct


_Loader.add_constructor("tag:yaml.org,2002:int", _number(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor("tag:yaml.org,2002:float", _number(yaml.SafeLoader.construct_yaml_float))


def _collect_lines(node: Any, prefix: str, lines: Dict[str, int], path: Path) -> None:
    if prefix.count(".") > MAX_DEPTH:
        raise PresetError(
            f"{path} is nested too deeply", fix="see `asrctl presets show tiny-cpu` for the keys there are"
        )
    if not isinstance(node, yaml.MappingNode):
        return
    for name_node, value_node in node.value:
        if not isinstance(name_node, yaml.ScalarNode):
            raise PresetError(
                f"{path}, line {name_node.start_mark.line + 1}: a key must be plain text", fix="correct the file there"
            )
        dotted, line = prefix + name_node.value, name_node.start_mark.line + 1
        if dotted in lines:
            raise PresetError(
                f"{path}, line {line}: {dotted} stands there twice (first on line {lines[dotted]})",
                fix="keep one of the two",
            )
        lines[dotted] = line
        _collect_lines(value_node, dotted + ".", lines, path)


# -- resolving --------------------------------------------------------------------------------------------------------


def load(name: str, *, overrides: Sequence[str] = (), workspace: Optional[Path] = None) -> Resolved:
    """Resolve a preset by name or path, with `key=value` overrides. Raises PresetError naming every problem."""
    layers = _chain(find(name, workspace), workspace)
    values: Dict[str, Any] = {}
    sources: Dict[str, str] = {}
    for layer in layers:
        own = {key: value for key, value in layer.values.items() if key not in _OF_ONE_FILE}
        _merge(values, own, sources, f"preset {layer.path.stem}")
    last = layers[-1]
    values.update(name=last.values.get("name", last.path.stem), description=last.values.get("description", ""))
    problems = _apply_overrides(values, overrides, sources)
    recipe, found = build(Recipe, values)
    problems = problems + found
    notes: Tuple[str, ...] = ()
    if not problems:
        recipe, notes, problems = _multiply_by_pod(recipe, sources)
    problems += [Problem(key, message) for key, message in cross_checks(recipe)] if not problems else []
    if problems:
        raise _refusal(name, problems, layers)
    return Resolved(recipe, sources, layers[-1].path, notes)


def check(path: Path, workspace: Optional[Path] = None) -> Resolved:
    """Validate one preset file, which may extend those that can be named from `workspace`. Raises PresetError."""
    return load(str(files.expanded(str(path)).absolute()), workspace=workspace)


def override(recipe: Recipe, overrides: Sequence[str], path: Path) -> Resolved:
    """A stored recipe with `key=value` overrides. Raises PresetError."""
    values: Dict[str, Any] = recipe.as_dict()
    sources: Dict[str, str] = {}
    problems = _apply_overrides(values, overrides, sources)
    changed, found = build(Recipe, values)
    problems = problems + found or [Problem(key, message) for key, message in cross_checks(changed)]
    if problems:
        raise _refusal(recipe.name, problems, [])
    return Resolved(changed, sources, path)


def from_dict(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe as it was stored with a run (already resolved: nothing is multiplied again). Raises PresetError."""
    recipe, problems = build(Recipe, values)
    if problems:
        lines = [f"{problem.key} {problem.message}" for problem in problems]
        raise PresetError(f"{where} is not a recipe of this version", fix="train again from the preset", problems=lines)
    return recipe


def dumps(recipe: Recipe) -> str:
    """The YAML text stored with a run: every key spelled out. The description is for people, and keeps no secret."""
    values = dict(recipe.as_dict(), description=redact(recipe.description))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def load_stored(path: Path) -> Recipe:
    """Read what `dumps` wrote. Raises PresetError."""
    return from_dict(_read(path).values, str(path))


def _chain(path: Path, workspace: Optional[Path]) -> List[_Layer]:
    layers: List[_Layer] = []
    seen: List[Path] = []
    while True:
        if path.resolve() in seen:
            names = " -> ".join(item.stem for item in seen + [path])
            raise PresetError(f"presets extend each other in a circle: {names}", fix="remove one `extends`")
        seen.append(path.resolve())
        layer = _read(path)
        layers.insert(0, layer)
        parent = layer.values.get("extends")
        if parent is None:
            return layers
        if not isinstance(parent, str):
            raise PresetError(f"{path}: `extends` must be the name of one preset", fix="write `extends: base-4ipu`")
        path = find(parent, workspace, beside=path.parent)


def _merge(
    into: Dict[str, Any], values: Mapping[str, Any], sources: Dict[str, str], origin: str, prefix: str = ""
) -> None:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, sources, origin, dotted + ".")
        else:
            into[key] = value
            sources[dotted] = origin


def _apply_overrides(values: Dict[str, Any], overrides: Sequence[str], sources: Dict[str, str]) -> List[Problem]:
    problems = []
    for text in overrides:
        key, separator, raw = text.partition("=")
        parts = key.strip().split(".")
        if not separator or not all(parts):
            problems.append(Problem(text, "is not KEY=VALUE, such as optim.learning_rate=1e-4"))
            continue
        try:
            value = yaml.load(raw, Loader=_Loader)
        except _YAML_ERRORS:
            as_text = shlex.quote(f"{key}={json.dumps(raw, ensure_ascii=False)}")
            problems.append(Problem(key, f"has a value that can not be read; if it is text, type `--set {as_text}`"))
            continue
        place = values
        for part in parts[:-1]:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[parts[-1]] = value
        sources[".".join(parts)] = SET
    return problems


def _multiply_by_pod(recipe: Recipe, sources: Dict[str, str]) -> Tuple[Recipe, Tuple[str, ...], List[Problem]]:
    """`ipu.pod: N`: as many replicas as fit, and the global batch times that, as the published configurations do."""
    ipu = recipe.ipu
    if ipu is None or ipu.pod is None:
        return recipe, (), []
    factor, rest = divmod(ipu.pod, ipu.ipus_per_replica * ipu.replication)
    if rest or factor < 1:
        each = ipu.ipus_per_replica * ipu.replication
        return recipe, (), [Problem("ipu.pod", f"is {ipu.pod}, not a multiple of the {each} IPUs this preset uses")]
    batch = recipe.optim.global_batch * factor
    note = (
        f"ipu.pod={ipu.pod}: {ipu.replication * factor} replicas of {ipu.ipus_per_replica} IPUs, "
        f"and a global batch of {batch} instead of {recipe.optim.global_batch}"
    )
    sources["ipu.replication"] = sources["optim.global_batch"] = "ipu.pod"
    recipe = dataclasses.replace(
        recipe,
        ipu=dataclasses.replace(ipu, replication=ipu.replication * factor),
        optim=dataclasses.replace(recipe.optim, global_batch=batch),
    )
    return recipe, (note,), []


def _refusal(name: str, problems: Sequence[Problem], layers: Sequence[_Layer]) -> PresetError:
    lines = []
    for problem in problems:
        place = ""
        for layer in reversed(layers):
            if problem.key in layer.lines:
                place = f" ({layer.path}, line {layer.lines[problem.key]})"
                break
        lines.append(f"{problem.key} {problem.message}{place}")
    count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
    return PresetError(f"preset {name} has {count}", fix="correct the keys named above", problems=lines)
