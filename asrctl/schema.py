"""Plain mappings -> frozen dataclasses, with every problem told at once: key, what is wrong, what would be right."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import typing
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type, TypeVar, Union

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """`key` is the dotted path of the preset key at fault."""

    key: str
    message: str


def build(cls: Type[T], values: Mapping[str, Any], prefix: str = "") -> Tuple[T, List[Problem]]:
    """An instance of `cls` from `values`; what could not be used keeps its default and is among the problems."""
    problems: List[Problem] = []
    hints = _hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    arguments: Dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}{name}"
        if name not in fields:
            problems.append(Problem(path, "is unknown" + did_you_mean(name, fields)))
            continue
        try:
            arguments[name] = _convert(value, hints[name], path, problems)
            _check_limits(arguments[name], fields[name].metadata)
        except ValueError as error:
            arguments.pop(name, None)
            problems.append(Problem(path, str(error)))
    return cls(**arguments), problems


@functools.lru_cache(maxsize=None)
def _hints(cls: Type[Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def kind_of(cls: Type[Any], path: Sequence[str]) -> Tuple[bool, Any]:
    """(may be null, kind) of a dotted key: str, int, float, bool, tuple, dict, a section, or None for no key."""
    optional, hint = False, cls
    for name in path:
        if not dataclasses.is_dataclass(hint) or name not in _hints(hint):
            return False, None
        optional, hint = _strip_optional(_hints(hint)[name])
    return optional, typing.get_origin(hint) or hint


def is_text(value: str) -> bool:
    """Whether it can be written to a file: JSON and YAML can spell halves of characters, which no encoding has."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def did_you_mean(name: Any, known: Any) -> str:
    """'; did you mean 'x'?' or the list of what is known."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"


def _convert(value: Any, hint: Any, path: str, problems: List[Problem]) -> Any:
    optional, hint = _strip_optional(hint)
    if value is None:
        if optional:
            return None
        raise ValueError("must have a value")
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError("must be a section of keys")
        section, found = build(hint, value, path + ".")
        problems.extend(found)
        return section
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _tuple(value, typing.get_args(hint)[0])
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError("must be a section of keys")
        if not _is_plain(value):
            raise ValueError("holds a value that is no text, number, list or section")
        return dict(value)
    return _scalar(value, hint)


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold it."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_text(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int):
        return abs(value) < _TOO_LARGE
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _strip_optional(hint: Any) -> Tuple[bool, Any]:
    if typing.get_origin(hint) is Union:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return True, kinds[0]
    return False, hint


def _tuple(value: Any, kind: Any) -> Tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be a list")
    return tuple(_scalar(item, kind) for item in value)


def _scalar(value: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError(f"must be true or false, not {value!r}")
    if kind is str:
        if isinstance(value, str) and is_text(value):
            return value
        raise ValueError(f"must be text, not {value!r}; put it in quotes")
    number = _number(value)
    if kind is int:
        if number != int(number):
            raise ValueError(f"must be a whole number, not {value!r}")
        return int(number)
    return float(number)


def _number(value: Any) -> float:
    # YAML 1.1 reads 3e-4 (no dot) as text; people mean the number.
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"must be a number, not {value!r}")
    try:
        number = value if isinstance(value, int) else float(value)
    except ValueError:
        raise ValueError(f"must be a number, not {value!r}") from None
    # An integer of YAML may have any length.
    if (isinstance(number, int) and abs(number) >= _TOO_LARGE) or not math.isfinite(number):
        raise ValueError("must be a number of sensible size")
    return number


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    choices: Optional[Tuple[str, ...]] = limits.get("choices")
    if choices is not None and value not in choices:
        raise ValueError(f"is {value!r}, not one of {', '.join(choices)}" + _close(value, choices))
    for item in value if isinstance(value, tuple) else (value,):
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
    close = difflib.get_close_matches(str(value), choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


# -- plain JSON values ------------------------------------------------------------------------------------------------

NUMBER = (int, float)
OPTIONAL_TEXT = (str, type(None))
_TOO_LARGE = 1 << 64
_CALLED = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a section of keys",
    list: "a list", type(None): "null",
}  # fmt: skip


def misfit(value: Any, shape: Any, where: str = "it") -> Optional[str]:
    """What keeps a JSON value from having a shape, or None: the border check of files that asrctl wrote itself.

    A shape is a type, [shape of every item], {key: shape}, or a tuple of shapes of which one must fit. "key?" may be
    missing, "*" stands for every other key, and keys that are not named may hold anything.
    """
    if isinstance(shape, tuple):
        found = [misfit(value, one, where) for one in shape]
        return None if None in found else found[0]
    if isinstance(shape, dict):
        return _misfit_keys(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        return next(filter(None, (misfit(item, shape[0], f"{where}[{n}]") for n, item in enumerate(value))), None)
    # To Python a truth value is a number, to people it is none.
    fits = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    fits = fits and not (isinstance(value, int) and abs(value) >= _TOO_LARGE)
    return None if fits else f"{where} is not {_CALLED[shape]}"


def _misfit_keys(value: Any, shape: Mapping[str, Any], where: str) -> Optional[str]:
    if not isinstance(value, dict):
        return f"{where} is not a section of keys"
    prefix = "" if where == "it" else where + "."
    for key, inner in shape.items():
        name = key.rstrip("?")
        names = [name] if name != "*" else [other for other in value if other not in shape]
        for item in names:
            if item not in value and name == key:
                return f"{prefix}{item} is missing"
            found = misfit(value[item], inner, f"{prefix}{item}") if item in value else None
            if found:
                return found
    return None
