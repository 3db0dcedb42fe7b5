"""`--map OLD=NEW`: lists whose paths were written on another machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Optional, Tuple

from asrctl.data.corpus import CorpusOption, CorpusRequest
from asrctl.events import Warned
from asrctl.storage import files


def _typed(word: str) -> Tuple[str, str]:
    """(OLD, NEW). Raises ValueError."""
    old, sign, new = word.partition("=")
    if not sign or not old.strip() or not new.strip():
        raise ValueError("it is not OLD=NEW")
    return old.rstrip("/\\") or old, str(Path.cwd() / files.expanded(new))


OPTION = CorpusOption(
    "--map",
    "Where the files of another machine lie here: paths that begin with the folder OLD begin with NEW instead.",
    metavar="OLD=NEW",
    type=_typed,
    repeatable=True,
)


class PathMap:
    """Replaces the beginnings of paths, and keeps account of the replacements that did nothing."""

    def __init__(self, request: CorpusRequest) -> None:
        self._request = request
        # Of two that fit, the longer one says more.
        self._moves = sorted(request.options.get(OPTION.key, ()), key=lambda move: -len(move[0]))
        self._used: Dict[str, bool] = {}

    def __call__(self, path: str) -> str:
        for old, new in self._moves:
            rest = path[len(old) :]
            if path.startswith(old) and (not rest or rest[0] in "/\\" or old[-1] in "/\\"):
                self._used[old] = True
                rest = rest.replace("\\", "/") if "\\" in path else rest
                return f"{new}/{rest.lstrip('/')}" if rest else new
        return path

    def in_command(self, command: str) -> str:
        """A command with the paths in it replaced, each once."""
        if not self._moves:
            return command
        olds = "|".join(re.escape(old) for old, _ in self._moves)
        return re.sub(rf"(?<![\w./-])(?:{olds})(?=$|[\s/'\")|;])", lambda found: self(found.group()), command)

    def tell(self) -> None:
        for old, _ in self._moves:
            if old not in self._used:
                self._request.emit(Warned(f"no path begins with {old} (--map)"))


def proposal(written: str, rest: Optional[str], folder: str) -> str:
    """What to type where `written` is not there. rest: the end of it that lies in `folder`, where one does."""
    if rest is None:
        old, new = re.split(r"[/\\][^/\\]*$", written)[0] or "/", "FOLDER"
    else:
        old, new = written[: len(written) - len(rest)].rstrip("/\\") or "/", folder
    return f"say where they lie here, such as with --map {old}={new}: {written} is not there"
