"""Read a preset file: its values and the line of each, from a safe subset of YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict

import yaml

from asrctl.config import schema
from asrctl.errors import BadData, PresetError
from asrctl.storage import files

MAX_BYTES = 100_000
MAX_DEPTH = 20
FIX_LIST = "see `asrctl presets list`, or give the path of a YAML file"
_TOO_DEEP = "it is nested too deeply"
# What PyYAML raises; the last are those of dates and numbers that are none.
YAML_ERRORS = (
    yaml.YAMLError,
    RecursionError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
)


@dataclass(frozen=True)
class Layer:
    """One YAML file: its values, and the line of each dotted key."""

    path: Path
    values: Dict[str, Any]
    lines: Dict[str, int] = field(default_factory=dict)


def read(path: Path) -> Layer:
    """Raises PresetError."""
    try:
        text = files.read_bytes(path, fix=FIX_LIST, most=MAX_BYTES).decode("utf-8")
        node = yaml.compose(text, Loader=Loader)
        lines: Dict[str, int] = {}
        _collect_lines(node, "", lines, path)
        _as_texts(_table(node))
        values = Loader("").construct_document(node) if node is not None else {}
    except BadData as error:
        raise PresetError(error.message, fix=error.fix) from None
    except YAML_ERRORS as error:
        raise _wrong(path, error) from None
    if not isinstance(values, dict):
        raise PresetError(f"{path} is not a preset: it holds no keys", fix="see `asrctl presets show tiny-cpu` for one")
    _embed_table(values, path)
    return Layer(path, values, lines)


def read_table(path: Path) -> Dict[str, str]:
    """{text: replacement} of a YAML file, where everything is text as it stands. Raises PresetError."""
    fix = "give a YAML file with lines TEXT: REPLACEMENT, with quotes around text that holds other signs than letters"
    try:
        node = yaml.compose(files.read_bytes(path, fix=fix, most=MAX_BYTES).decode("utf-8-sig"), Loader=Loader)
        _as_texts(node)
        values = Loader("").construct_document(node) if node is not None else {}
        lines: Dict[str, int] = {}
        _collect_lines(node, "", lines, path)
    except BadData as error:
        raise PresetError(error.message, fix=error.fix) from None
    except YAML_ERRORS as error:
        raise _wrong(path, error) from None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise PresetError(f"{path} is not a table of replacements", fix=fix)
    return values


def _table(node: Any) -> Any:
    """The node of text.replace in that of a preset, or None."""
    for name in ("text", "replace"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in pairs if key.value == name), None)
    return node if isinstance(node, yaml.MappingNode) else None


def _as_texts(node: Any) -> None:
    """Let the keys and values of a table be the text that they look like: `no`, `1` and nothing at all, too."""
    for pair in node.value if isinstance(node, yaml.MappingNode) else []:
        for item in pair:
            if isinstance(item, yaml.ScalarNode):
                item.tag, item.style = "tag:yaml.org,2002:str", item.style or '"'


def _embed_table(values: Dict[str, Any], path: Path) -> None:
    """Put the content of a file of replacements in the place of its name, which is meant from the preset's folder."""
    text = values.get("text")
    if isinstance(text, dict) and isinstance(text.get("replace"), str):
        values["text"] = dict(text, replace=read_table(path.parent / files.expanded(text["replace"])))


# What PyYAML says -> what is wrong in the words of whoever typed it, and what to do.
_COMPLAINTS = (
    ("'\\t'", "a tab stands where only spaces may", "indent with spaces"),
    ("mapping values are not allowed", "a colon stands where none can", "put text that holds a colon in quotes"),
    ("expected <block end>", "it does not fit the lines above it", "indent the keys of a section alike, as KEY: VALUE"),
    ("expected ',' or", "a bracket is not closed", "close it"),
    ("unexpected end of stream", "a quote is not closed", "close it"),
    ("could not find expected ':'", "a key stands without a colon", "write KEY: VALUE"),
    ("that cannot start any token", "a value begins with a character that has another meaning", "put it in quotes"),
    ("escape character", "a backslash in double quotes has another meaning", "use single quotes"),
    ("constructor for the tag", "presets take no YAML tags (!name)", "leave it out"),
    ("no YAML aliases", "presets take no YAML aliases (*name)", "write the value itself"),
    (_TOO_DEEP, _TOO_DEEP, "see `asrctl presets show tiny-cpu` for the keys there are"),
    ("another document", "a second document begins (---)", "make it a file of its own"),
    ("not allowed", "there is a character that no text has", "save the file as plain text in UTF-8"),
    ("codec can't decode", "it is not UTF-8", "save the file as plain text in UTF-8"),
)


def _wrong(path: Path, error: Exception) -> PresetError:
    """One of YAML_ERRORS in our words."""
    said = " ".join(str(getattr(error, name, None) or "") for name in ("problem", "context", "note")).strip() or str(
        error
    )
    found = (complaint for complaint in _COMPLAINTS if complaint[0] in said)
    _, what, fix = next(found, ("", "it can not be read as YAML", "correct the file there; text goes in quotes"))
    # Where something is not closed, the place where it was opened helps more than the end of the file.
    mark = getattr(error, "context_mark" if "is not closed" in what else "problem_mark", None)
    place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
    return PresetError(f"{place}: {what}", fix=fix)


def value(text: str) -> Any:
    """What one value means, as it stands in a file. Raises one of YAML_ERRORS."""
    return yaml.load(text, Loader=Loader)


class Loader(yaml.SafeLoader):
    """Safe YAML of bounded depth and without aliases (a few nested ones can expand to gigabytes)."""

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
        return _text(loader, node) if re.match(r"[-+]?0[0-9_]|.*:", node.value) else constructed(loader, node)

    return construct


def _text(loader: Any, node: Any) -> str:
    """YAML 1.1 takes 3e-4 (no dot) for text; whoever wants a number finds one there."""
    is_plain = node.style is None and re.match(r"[-+]?\.?[0-9]", node.value)
    return schema.Unquoted(node.value) if is_plain else node.value


# Nobody means a date, nor what `=` and `<<` stand for in YAML 1.1.
for _tag in ("str", "timestamp", "value", "merge"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _text)
Loader.add_constructor("tag:yaml.org,2002:int", _number(yaml.SafeLoader.construct_yaml_int))
Loader.add_constructor("tag:yaml.org,2002:float", _number(yaml.SafeLoader.construct_yaml_float))


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
