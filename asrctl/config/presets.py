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

from asrctl.config import preset_file, schema
from asrctl.config.preset_file import FIX_LIST, Layer, read
from asrctl.config.recipe import Recipe
from asrctl.config.recipe_checks import cross_checks, ipu_checks
from asrctl.config.schema import Problem, build, did_you_mean
from asrctl.errors import PresetError, UsageError
from asrctl.messages import amounts
from asrctl.storage import files
from asrctl.storage.names import made_of, shortened, valid_name
from asrctl.storage.redact import redact

# A dotted key inside a sentence.
_KEY = re.compile(r"[a-z]+(?:\.\w+)+")
# A preset that extends another one is not what the other one describes.
_OF_ONE_FILE = ("extends", "description")
# The source of a value that was typed.
SET = "--set"
_NULLS = ("null", "Null", "NULL", "~")


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
    origin: "_Origin" = field(default_factory=lambda: _Origin(""), repr=False)


def source(sources: Mapping[str, str], key: str) -> Optional[str]:
    """Where a key comes from, or one of those below it, in a table whose keys are free; --set goes first."""
    below = [origin for name, origin in sources.items() if name == key or name.startswith(f"{key}.")]
    return SET if SET in below else below[-1] if below else None


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
    package = Path(__file__).parent.parent
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
        values = read(path).values
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
            raise PresetError(f"there is no preset file {path}", fix=FIX_LIST)
        return path
    folders = ([("beside", beside)] if beside is not None else []) + search_folders(workspace)
    for _, folder in folders:
        path = folder / f"{name}.yaml"
        if files.is_file(path):
            return path
    known = sorted({path.stem for _, folder in search_folders(workspace) for path in folder.glob("*.yaml")})
    raise PresetError(f"there is no preset called {name!r}{did_you_mean(name, known)}", fix=FIX_LIST)


def is_preset(path: Path) -> bool:
    """Whether a file holds the keys of a preset, whatever their values, and nothing else."""
    try:
        keys = set(read(path).values)
    except PresetError:
        return False
    return bool(keys) and keys <= {*_OF_ONE_FILE, *(field.name for field in dataclasses.fields(Recipe))}


# -- resolving --------------------------------------------------------------------------------------------------------


def load(name: str, *, overrides: Sequence[str] = (), workspace: Optional[Path] = None) -> Resolved:
    """Resolve a preset by name or path, with `key=value` overrides. Raises PresetError naming every problem.

    What only an IPU asks for is not asked for here: see `refuse_for_ipu`.
    """
    return _resolve(name, _chain(find(name, workspace), workspace), overrides)


def check(path: Path, workspace: Optional[Path] = None) -> Resolved:
    """Validate one preset file, which may extend those that can be named from `workspace`. Raises PresetError."""
    return load(str(files.expanded(str(path)).absolute()), workspace=workspace)


def check_values(values: Mapping[str, Any], path: Path) -> Resolved:
    """Validate a preset that is yet to be written. path: of what it is made from, for errors. Raises PresetError."""
    layer = Layer(path, dict(values))
    return _resolve(str(path), [*_parents(layer, [], None), layer], ())


def _resolve(name: str, layers: List[Layer], overrides: Sequence[str]) -> Resolved:
    values: Dict[str, Any] = {}
    sources: Dict[str, str] = {}
    for layer in layers:
        own = {key: value for key, value in layer.values.items() if key not in _OF_ONE_FILE}
        _merge(values, own, sources, f"preset {layer.path.stem}")
    last = layers[-1]
    values.update(name=last.values.get("name", _name_of(last.path)), description=last.values.get("description", ""))
    origin = _Origin(name, tuple(layers))
    problems = _apply_overrides(values, overrides, sources, origin)
    recipe, found = build(Recipe, values)
    problems = problems + found
    notes: Tuple[str, ...] = ()
    if not problems:
        recipe, notes, problems = _multiply_by_pod(recipe, sources)
    if not problems:
        problems = [Problem(key, message) for key, message in cross_checks(recipe)]
    origin.refuse(problems)
    return Resolved(recipe, sources, last.path, notes, origin)


def _name_of(path: Path) -> str:
    """The name of a preset that gives itself none: its file's, as far as a run can be called so."""
    try:
        return valid_name(shortened(made_of(path.stem, "_.+-", is_short=True).strip("-.")))
    except UsageError:
        return "custom"


def override(recipe: Recipe, overrides: Sequence[str], path: Path) -> Resolved:
    """A stored recipe with `key=value` overrides. Raises PresetError for what they make wrong."""
    values: Dict[str, Any] = recipe.as_dict()
    sources: Dict[str, str] = {}
    origin = _Origin(recipe.name)
    problems = _apply_overrides(values, overrides, sources, origin)
    changed, found = build(Recipe, values)
    # An older release may have let more pass than this one.
    before = cross_checks(recipe)
    new = [Problem(*problem) for problem in cross_checks(changed) if problem not in before]
    origin.refuse(problems + found or new)
    return Resolved(changed, sources, path, origin=origin)


def refuse_for_ipu(resolved: Resolved) -> None:
    """Raises PresetError for what is wrong on an IPU, real or emulated, and nowhere else."""
    resolved.origin.refuse([Problem(*problem) for problem in ipu_checks(resolved.recipe)])


def ipu_problems(resolved: Resolved) -> List[str]:
    """The same as sentences."""
    return resolved.origin.sentences([Problem(*problem) for problem in ipu_checks(resolved.recipe)])


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
    return from_dict(read(path).values, str(path))


def _chain(path: Path, workspace: Optional[Path]) -> List[Layer]:
    """The files from the one that extends nothing to the one at `path`."""
    layer = read(path)
    return [*_parents(layer, [path], workspace), layer]


def _parents(layer: Layer, seen: List[Path], workspace: Optional[Path]) -> List[Layer]:
    """What a file extends, the first of all first. seen: the files on the way to it."""
    layers: List[Layer] = []
    while layer.values.get("extends") is not None:
        path = _extended(layer, workspace)
        if path.resolve() in [item.resolve() for item in seen]:
            names = " -> ".join(item.stem for item in [*seen, path])
            raise PresetError(f"presets extend each other in a circle: {names}", fix="remove one `extends`")
        seen = [*seen, path]
        layer = read(path)
        layers.insert(0, layer)
    return layers


def _extended(layer: Layer, workspace: Optional[Path]) -> Path:
    name = layer.values["extends"]
    if not isinstance(name, str):
        raise PresetError(f"{layer.path}: `extends` must be the name of one preset", fix="write `extends: base-4ipu`")
    try:
        return find(name, workspace, beside=layer.path.parent)
    except PresetError as error:
        place = f"{layer.path}, line {layer.lines['extends']}: " if "extends" in layer.lines else ""
        raise PresetError(f"{place}{error.message}", fix=error.fix) from None


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


def _apply_overrides(
    values: Dict[str, Any], overrides: Sequence[str], sources: Dict[str, str], origin: "_Origin"
) -> List[Problem]:
    problems = []
    for text in overrides:
        key, separator, raw = text.partition("=")
        parts = key.strip().split(".")
        dotted = ".".join(parts)
        origin.typed[dotted if separator else text] = text
        if not separator or not all(parts):
            problems.append(Problem(text, "is not KEY=VALUE, such as optim.learning_rate=1e-4"))
            continue
        try:
            value = _typed(parts, raw)
        except preset_file.YAML_ERRORS:
            problems.append(Problem(dotted, f"has a value that can not be read; {_cure(parts, raw)}"))
            continue
        place = values
        for part in parts[:-1]:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[parts[-1]] = value
        sources[dotted] = SET
    return problems


def _typed(parts: Sequence[str], raw: str) -> Any:
    """What was typed behind KEY=: text is what it is, without quotes too; all else is read as in a file."""
    optional, kind = schema.kind_of(Recipe, parts)
    text = raw.strip()
    if kind is not str or text in _NULLS or text.startswith(("'", '"')):
        return preset_file.value(raw)
    return None if optional and not text else text


def _cure(parts: Sequence[str], raw: str) -> str:
    key, (_, kind) = ".".join(parts), schema.kind_of(Recipe, parts)
    if kind is tuple:
        return f"write a list: --set {shlex.quote(f'{key}={_as_list(raw)}')}"
    if kind is dict or dataclasses.is_dataclass(kind):
        return f"set one key at a time: --set {key}.KEY=VALUE"
    as_text = shlex.quote(f"{key}={json.dumps(raw, ensure_ascii=False)}")
    return f"if it is text, type `--set {as_text}`"


def _as_list(raw: str) -> str:
    """Of words that YAML takes for something else, such as patterns with a *, the list that was meant."""
    words = [word.strip().strip("'\"") for word in raw.strip().strip("[]").split(",")]
    has_patterns = raw.strip()[:1] == "[" and "*" in raw
    return json.dumps([word for word in words if word], ensure_ascii=False) if has_patterns else "[A, B]"


def _multiply_by_pod(recipe: Recipe, sources: Dict[str, str]) -> Tuple[Recipe, Tuple[str, ...], List[Problem]]:
    """`ipu.pod: N`: as many replicas as fit, and the global batch times that, as the published configurations do."""
    ipu = recipe.ipu
    if ipu is None or ipu.pod is None:
        return recipe, (), []
    factor, rest = divmod(ipu.pod, ipu.ipus_per_replica * ipu.replication)
    if rest or factor < 1:
        each = ipu.ipus_per_replica * ipu.replication
        return (
            recipe,
            (),
            [Problem("ipu.pod", f"is {ipu.pod}, not a multiple of the {amounts.count(each, 'IPU')} this preset uses")],
        )
    batch = recipe.optim.global_batch * factor
    note = (
        f"ipu.pod={ipu.pod}: {ipu.replication * factor} replicas of {amounts.count(ipu.ipus_per_replica, 'IPU')}, "
        f"and a global batch of {batch} instead of {recipe.optim.global_batch}"
    )
    sources["ipu.replication"] = sources["optim.global_batch"] = "ipu.pod"
    recipe = dataclasses.replace(
        recipe,
        ipu=dataclasses.replace(ipu, replication=ipu.replication * factor),
        optim=dataclasses.replace(recipe.optim, global_batch=batch),
    )
    return recipe, (note,), []


# -- who is to blame --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Origin:
    """Where the values of a recipe were written: files, and {dotted key: the text that --set had}."""

    name: str
    layers: Tuple[Layer, ...] = ()
    typed: Dict[str, str] = field(default_factory=dict)

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Raises PresetError where there are problems, each with the places that are to be corrected."""
        if not problems:
            return
        lines = self.sentences(problems)
        if all("".join(self._places(problem)).startswith(SET) for problem in problems):
            message, fix = f"preset {self.name} can not be changed like this", "correct what --set says"
        else:
            count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
            message, fix = f"preset {self.name} has {count}", "correct the keys named above"
        raise PresetError(message, fix=fix, problems=lines)

    def sentences(self, problems: Sequence[Problem]) -> List[str]:
        places = [f" ({'; '.join(found)})" if found else "" for found in map(self._places, problems)]
        return [f"{problem.key} {problem.message}{place}" for problem, place in zip(problems, places)]

    def _places(self, problem: Problem) -> List[str]:
        """What was typed for the key, or else for those that the sentence names; then the line of the key in a file.

        Of two keys that do not go together the one that was typed is named first: it made the recipe wrong.
        """
        if self._typed(problem.key):
            return [self._typed(problem.key)]
        others = [key for key in _KEY.findall(problem.message) if key != problem.key]
        typed = [self._typed(key) for key in others]
        written = [self._written(key) for key in (problem.key, *others)]
        return list(dict.fromkeys(filter(None, [*typed, next(filter(None, written), "")])))

    def _typed(self, key: str) -> str:
        for typed, text in reversed(list(self.typed.items())):
            if key == typed or key.startswith(f"{typed}.") or typed.startswith(f"{key}."):
                return f"{SET} {shlex.quote(text)}"
        return ""

    def _written(self, key: str) -> str:
        for layer in reversed(self.layers):
            if key in layer.lines:
                return f"{layer.path}, line {layer.lines[key]}"
        return ""
