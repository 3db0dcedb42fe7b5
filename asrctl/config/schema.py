"""Plain mappings -> frozen dataclasses, with every problem told at once: key, what is wrong, what would be right."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Type, TypeVar

from asrctl.messages import suggestions
from asrctl.storage.records import TOO_LARGE, Kind, Reader, is_text, kinds

T = TypeVar("T")
_CALLED = {dict: "a section of keys", tuple: "a list"}


class Unquoted(str):
    """A text of a preset that begins like a number and stands without quotes."""


@dataclass(frozen=True)
class Problem:
    """`key` is the dotted path of the preset key at fault."""

    key: str
    message: str


def build(cls: Type[T], values: Mapping[str, Any]) -> Tuple[T, List[Problem]]:
    """An instance of `cls` from `values`; what could not be used keeps its default and is among the problems."""
    reader = _Preset(cls)
    return reader.section(cls, values, ""), reader.problems


class _Preset(Reader):
    """As people write it: numbers may be text, every problem is told. root: the class of the whole preset."""

    def __init__(self, root: Any) -> None:
        self.problems: List[Problem] = []
        self._root = root

    def section(self, cls: Type[T], values: Mapping[str, Any], prefix: str) -> T:
        fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        arguments: Dict[str, Any] = {}
        for name, value in values.items():
            path = f"{prefix}{name}"
            if name not in fields:
                self.problems.append(Problem(path, "is unknown" + _nearest(name, prefix, fields, self._root)))
                continue
            try:
                kind = kinds(cls)[name]
                if value is None and not kind.optional:
                    raise ValueError("must have a value")
                found = self.value(value, kind, path)
                _check_limits(found, fields[name].metadata)
                arguments[name] = found
            except ValueError as error:
                self.problems.append(Problem(path, str(error)))
        return cls(**arguments)

    def mapping(self, values: Mapping[str, Any], item: Kind, where: str) -> Dict[str, Any]:
        if not _is_plain(values):
            raise ValueError("holds a value that is no text, number, list or section")
        return _meant(super().mapping(values, item, where))

    def scalar(self, value: Any, base: Any, where: str) -> Any:
        return _scalar(value, base)

    def refuse(self, base: Any, where: str) -> NoReturn:
        raise ValueError(f"must be {_CALLED[base]}")


def kind_of(cls: Type[Any], path: Sequence[str]) -> Tuple[bool, Any]:
    """(may be null, base) of a dotted key: str, int, float, bool, tuple, dict, a section, or None for no key."""
    kind = Kind(False, cls)
    for name in path:
        if not dataclasses.is_dataclass(kind.base) or name not in kinds(kind.base):
            return False, None
        kind = kinds(kind.base)[name]
    return kind.optional, kind.base


def did_you_mean(name: Any, known: Any) -> str:
    """'; did you mean 'x'?' or the list of what is known."""
    meant = suggestions.question(str(name), known)
    return f"; {meant}" if meant else f"; known here: {', '.join(known)}"


def _nearest(name: Any, prefix: str, fields: Mapping[str, Any], root: Any) -> str:
    """'; did you mean 'optim.seed'?' of this section, or else of another one; or the list of what is known here."""
    meant = [f"{prefix}{word}" for word in suggestions.closest(str(name), fields)]
    if not meant:
        last: Dict[str, List[str]] = {}
        for key in _keys(root):
            last.setdefault(key.rpartition(".")[2], []).append(key)
        meant = [key for word in suggestions.closest(str(name), last) for key in last[word]]
    return f"; did you mean {' or '.join(map(repr, meant))}?" if meant else f"; known here: {', '.join(fields)}"


def _keys(cls: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a class that have a value, sections left out."""
    for name, kind in kinds(cls).items():
        if dataclasses.is_dataclass(kind.base):
            yield from _keys(kind.base, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _meant(value: Any) -> Any:
    """The number that a text without quotes is to people (1e-5, 010), where no kind says that it is text."""
    if isinstance(value, Mapping):
        return {str(name): _meant(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_meant(item) for item in value]
    if not isinstance(value, Unquoted):
        return value
    try:
        number = _number(value)
    except ValueError:
        return str(value)
    return number if set(value.lower()) & set(".e") else int(number)


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold it."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_text(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int):
        return abs(value) < TOO_LARGE
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _scalar(value: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError(f"must be true or false, not {_said(value)}")
    if kind is str:
        if isinstance(value, str) and is_text(value):
            return str(value)
        if isinstance(value, bool):
            raise ValueError(
                "must be text, and YAML reads the words yes, no, on, off, true and false otherwise; put it in quotes"
            )
        raise ValueError(f"must be text, not {_said(value)}; put it in quotes")
    number = _number(value)
    if kind is int:
        if number != int(number):
            raise ValueError(f"must be a whole number, not {_said(value)}")
        return int(number)
    return float(number)


def _number(value: Any) -> float:
    # YAML 1.1 reads 3e-4 (no dot) as text; people mean the number.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be a number, not {_said(value)}")
    try:
        number = value if isinstance(value, int) else float(value)
    except ValueError:
        raise ValueError(f"must be a number, not {value!r}{_without_percent(value)}") from None
    # An integer of YAML may have any length.
    if (isinstance(number, int) and abs(number) >= TOO_LARGE) or not math.isfinite(number):
        raise ValueError("must be a number of sensible size")
    return number


def _said(value: Any) -> str:
    """A value as YAML has it, not Python."""
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        return "a list"
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def _without_percent(value: Any) -> str:
    try:
        return f"; write {float(value[:-1]) / 100:g}" if value.endswith("%") else ""
    except ValueError:
        return ""


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    choices: Optional[Tuple[str, ...]] = limits.get("choices")
    for item in value if isinstance(value, tuple) else (value,):
        if choices is not None and item not in choices:
            verb = "holds" if isinstance(value, tuple) else "is"
            raise ValueError(f"{verb} {item!r}, not one of {', '.join(choices)}" + _close(item, choices))
        if not isinstance(item, (int, float)) or isinstance(item, bool):
            continue
        if "low" in limits and item < limits["low"]:
            raise ValueError(f"is {item:g}, the least is {limits['low']:g}")
        if "above" in limits and item <= limits["above"]:
            raise ValueError(f"is {item:g}, it must be above {limits['above']:g}")
        if "high" in limits and item > limits["high"]:
            raise ValueError(f"is {item:g}, the most is {limits['high']:g}")
        if "below" in limits and item >= limits["below"]:
            raise ValueError(f"is {item:g}, it must be below {limits['below']:g}")


def _close(value: Any, choices: Tuple[str, ...]) -> str:
    meant = suggestions.question(str(value), choices)
    return f"; {meant}" if meant else ""
