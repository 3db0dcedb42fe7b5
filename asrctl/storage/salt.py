"""Random bytes of a workspace: what is named by a digest made with them means nothing elsewhere."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from asrctl.storage import files, records
from asrctl.storage.workspace import SALT, Workspace

_BYTES = 32
_FIX = "delete that file; speakers whose names were hidden with it then get other labels"


@dataclass(frozen=True)
class _Salt:
    salt: str

    def __post_init__(self) -> None:
        if not re.fullmatch(rf"[0-9a-f]{{{2 * _BYTES}}}", self.salt):
            raise ValueError("it holds no salt")


def of(workspace: Workspace, *, write: bool = True) -> bytes:
    """Drawn once for each workspace. Raises BadData.

    write=False: where there is none yet, one that is not kept.
    """
    path = workspace.own(workspace.root / SALT)
    if not path.exists():
        drawn = secrets.token_hex(_BYTES)
        if not write:
            return bytes.fromhex(drawn)
        workspace.create()
        with workspace.lock("salt", wait=True):
            if not path.exists():
                files.write_json(path, {"salt": drawn})
    found = files.read_json(path, fix=_FIX)
    return bytes.fromhex(records.read(_Salt, found, f"{path} is damaged", fix=_FIX).salt)
