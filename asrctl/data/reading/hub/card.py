"""What the README.md of a data set says of its configurations, for a datasets library that does not read it itself.

As in https://huggingface.co/docs/hub/datasets-manual-configuration; the library reads it from 2.14 on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Optional

from asrctl.errors import BadData
from asrctl.storage import files

README = "README.md"
MAX_BYTES = 1 << 22
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", re.DOTALL)


def configurations(folder: Path) -> Dict[str, Dict[str, Any]]:
    """{configuration: what load_dataset_builder takes for it}, that of default first; nothing where none is told of.

    Raises BadData.
    """
    listed = [one for one in _head(folder).get("configs") or () if isinstance(one, dict) and one.get("config_name")]
    listed.sort(key=lambda one: not (one.get("default") is True or one["config_name"] == "default"))
    return {str(one["config_name"]): _arguments(one) for one in listed}


def default(folder: Path, known: Dict[str, Any]) -> Optional[str]:
    """The configuration that is meant where none is named; None where several may be."""
    first = next(iter(known), None)
    marked = [one for one in _head(folder).get("configs") or () if isinstance(one, dict) and one.get("default") is True]
    return first if len(known) == 1 or marked or first == "default" else None


def _head(folder: Path) -> Dict[str, Any]:
    import yaml

    path = folder / README
    if not path.is_file():
        return {}
    text = files.read_bytes(path, fix="fetch the repository again", most=MAX_BYTES).decode("utf-8", "replace")
    found = _HEAD.match(text)
    try:
        head = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError:
        raise BadData(f"the head of {path} is no YAML", fix="correct it, or fetch the repository again") from None
    return head if isinstance(head, dict) else {}


def _arguments(config: Dict[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    if config.get("data_dir"):
        found["data_dir"] = str(config["data_dir"])
    listed = config.get("data_files")
    if isinstance(listed, list) and all(isinstance(one, dict) for one in listed):
        splits: Dict[str, List[str]] = {}
        for one in listed:
            path = one.get("path")
            splits.setdefault(str(one.get("split")), []).extend(path if isinstance(path, list) else [str(path)])
        listed = splits
    if listed:
        found["data_files"] = listed
    return found
