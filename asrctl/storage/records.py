"""Dataclasses <-> JSON: the one way in, which says what is wrong with what was read, and the one way out.

`read` takes the records that asrctl wrote itself, to the letter; `config/schema.py` reads what people write by the same
`Reader`. `as_dict` is the way back: a record's keys are the fields of its class, in their order.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, NoReturn, Optional, Tuple, Type, TypeVar, Union

from asrctl.errors import BadData

T = TypeVar("T")
TOO_LARGE = 1 << 64  # no number of ours comes near; readers of JSON in other languages give up long before
_CALLED = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a section of keys",
    tuple: "a list",
}  # fmt: skip
_ABSENT = "absent"


def absent() -> Any:
    """A field, of an Optional type, whose key is left out of the JSON where it is None; null is no value for it."""
    return field(default=None, metadata={_ABSENT: True})


def is_text(value: str) -> bool:
    """Whether it can be written to a file: JSON and YAML can spell halves of characters, which no encoding has."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


@dataclass(frozen=True)
class Kind:
    """A type hint, taken apart. base: str, int, float, bool, a dataclass, tuple, dict, or Any. item: what a tuple or a
    dict is of; a dict's keys are text."""

    optional: bool
    base: Any
    item: Optional["Kind"] = None


def kinds(cls: Any) -> Mapping[str, Kind]:
    """{field: kind} of a dataclass."""
    return _kinds(cls)


@functools.lru_cache(maxsize=None)
def _kinds(cls: Any) -> Mapping[str, Kind]:
    hints = typing.get_type_hints(cls)
    return {item.name: _kind(hints[item.name]) for item in dataclasses.fields(cls)}


def _kind(hint: Any) -> Kind:
    optional = typing.get_origin(hint) is Union
    if optional:
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return Kind(optional, tuple, _kind(of[0]))
    if origin in (dict, collections.abc.Mapping):
        return Kind(optional, dict, _kind(of[1]))
    return Kind(optional, hint)


def _fields_of(cls: Any) -> Tuple[Tuple[str, Kind, bool], ...]:
    return _expected(cls)


@functools.lru_cache(maxsize=None)
def _expected(cls: Any) -> Tuple[Tuple[str, Kind, bool], ...]:
    """(name, kind, whether it has a default) of each field of a record; null is no value of one that can be absent."""
    found, of = [], kinds(cls)
    for item in dataclasses.fields(cls):
        kind = of[item.name]
        if _ABSENT in item.metadata:
            kind = dataclasses.replace(kind, optional=False)
        has_default = (item.default, item.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        found.append((item.name, kind, has_default))
    return tuple(found)


class Reader:
    """Turns parsed JSON or YAML into values of given kinds. Subclasses say how strict they are, and in which words."""

    def value(self, value: Any, kind: Kind, where: str) -> Any:
        """`value` as a kind has it. Raises ValueError."""
        if value is None and kind.optional:
            return None
        if kind.base is Any:
            return value
        if dataclasses.is_dataclass(kind.base):
            cls: Any = kind.base
            return self.section(cls, self._mapping(value, where), f"{where}.")
        if kind.base is dict and kind.item is not None:
            return self.mapping(self._mapping(value, where), kind.item, where)
        if kind.base is tuple and kind.item is not None:
            if not isinstance(value, (list, tuple)):
                self.refuse(tuple, where)
            return tuple(self.value(item, kind.item, f"{where}[{number}]") for number, item in enumerate(value))
        return self.scalar(value, kind.base, where)

    def mapping(self, values: Mapping[str, Any], item: Kind, where: str) -> Dict[str, Any]:
        """A dict whose keys are free."""
        return {key: self.value(value, item, f"{where}.{key}") for key, value in values.items()}

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        return value if isinstance(value, collections.abc.Mapping) else self.refuse(dict, where)

    def section(self, cls: Type[T], values: Mapping[str, Any], prefix: str) -> T:
        """An instance of a dataclass. prefix: of its fields' names. Raises ValueError."""
        raise NotImplementedError

    def scalar(self, value: Any, base: Any, where: str) -> Any:
        """base: str, int, float or bool. Raises ValueError."""
        raise NotImplementedError

    def refuse(self, base: Any, where: str) -> NoReturn:
        """Raises ValueError: what stands there is none of this base."""
        raise NotImplementedError


class _Record(Reader):
    """Nothing is converted but lists to tuples, and the first problem ends it."""

    def section(self, cls: Type[T], values: Mapping[str, Any], prefix: str) -> T:
        arguments: Dict[str, Any] = {}
        for name, kind, may_be_missing in _fields_of(cls):
            if name in values:
                arguments[name] = self.value(values[name], kind, f"{prefix}{name}")
            elif not may_be_missing:
                if not kind.optional:
                    raise ValueError(f"{prefix}{name} is missing")
                arguments[name] = None
        return cls(**arguments)

    def scalar(self, value: Any, base: Any, where: str) -> Any:
        # To Python a truth value is a number, to people it is none.
        fits = isinstance(value, (int, float) if base is float else base) and isinstance(value, bool) == (base is bool)
        if not fits or (isinstance(value, int) and abs(value) >= TOO_LARGE):
            self.refuse(base, where)
        return value

    def refuse(self, base: Any, where: str) -> NoReturn:
        raise ValueError(f"{where} is not {_CALLED[base]}")


_RECORD = _Record()


def read(cls: Type[T], values: Any, refusal: str, *, fix: str) -> T:
    """A record from parsed JSON: the border check of files that asrctl wrote itself.

    A key may be missing where its field has a default or is Optional; keys of no field, such as a newer asrctl may
    write, are passed over. What a class checks by itself raises ValueError in its __post_init__.

    Raises BadData: `refusal`, then in brackets what is wrong.
    """
    try:
        return _read(cls, values)
    except ValueError as error:
        raise BadData(f"{refusal} ({error})", fix=fix) from None


def problem(cls: Type[Any], values: Any) -> Optional[str]:
    """What keeps values from being a record, or None: for values that are used as they are."""
    try:
        _read(cls, values)
    except ValueError as error:
        return str(error)
    return None


def _read(cls: Type[T], values: Any) -> T:
    if not isinstance(values, dict):
        _RECORD.refuse(dict, "it")
    return _RECORD.section(cls, values, "")


def as_dict(record: Any) -> Dict[str, Any]:
    """JSON values of a record, in the order of its fields."""
    held = ((item, getattr(record, item.name)) for item in dataclasses.fields(record))
    return {item.name: plain(value) for item, value in held if value is not None or _ABSENT not in item.metadata}


def plain(value: Any) -> Any:
    """A value of a record as JSON has it."""
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    if isinstance(value, collections.abc.Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
