"""Whether a JSON value has the shape that it must have, for what others wrote; asrctl's own is read by `records.py`."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from asrctl.storage.records import TOO_LARGE

NUMBER = (int, float)
OPTIONAL_TEXT = (str, type(None))
_CALLED = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a section of keys",
    list: "a list", type(None): "null",
}  # fmt: skip


def misfit(value: Any, shape: Any, where: str = "it") -> Optional[str]:
    """What keeps a JSON value from having a shape, or None.

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
    fits = fits and not (isinstance(value, int) and abs(value) >= TOO_LARGE)
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
