"""Random bytes of a workspace: what is named by a digest made with them means nothing elsewhere."""

from __future__ import annotations

import re
import secrets

from asrctl.errors import BadData
from asrctl.storage import files
from asrctl.storage.json_shape import misfit
from asrctl.storage.workspace import SALT, Workspace

_BYTES = 32
_FIX = "delete that file; speakers whose names were hidden with it then get other labels"


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
    problem = misfit(found, {"salt": str})
    if problem or not re.fullmatch(rf"[0-9a-f]{{{2 * _BYTES}}}", found["salt"]):
        raise BadData(f"{path} is damaged ({problem or 'it holds no salt'})", fix=_FIX)
    return bytes.fromhex(found["salt"])
