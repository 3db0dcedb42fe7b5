"""The Hugging Face hub: what is fetched lies in its own cache on this machine, and needs no network from then on.

Where the hub can not be reached, its client tries again for minutes, and behind a proxy that does not answer it waits
for ever. So it is asked once, for a few seconds, before anything is fetched.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence

from asrctl.errors import MissingArtifact
from asrctl.messages import reasons
from asrctl.runtime import compat, memory

_PATIENCE_S = 5.0


def snapshot(name: str, revision: Optional[str], patterns: Sequence[str], more: Sequence[str], wanted: str) -> Path:
    """The folder of a model with the files that fit `patterns`, and `more` where none fits `wanted`.

    Raises MissingArtifact.
    """
    from huggingface_hub import snapshot_download

    offline = why_not()

    def fetch(allowed: Sequence[str]) -> Path:
        found = snapshot_download(name, revision=revision, allow_patterns=list(allowed), local_files_only=bool(offline))
        return Path(found)

    try:
        with compat.quiet_transformers():
            folder = fetch(patterns)
            return folder if list(folder.glob(wanted)) else fetch([*patterns, *more])
    except Exception as error:  # the hub client raises many kinds, from several libraries
        memory.raise_shortage(error)
        raise missing(f"the checkpoint {name} could not be fetched", error, offline) from None


def missing(what: str, error: Exception, offline: str) -> MissingArtifact:
    """What to raise where something could not be fetched. offline: what `why_not` has said."""
    if offline:
        fix = "connect to the network, or name a local folder instead"
        if _is_switched_off():
            fix = "unset HF_HUB_OFFLINE, or name a local folder instead"
        return MissingArtifact(f"{what}: {offline}, and its cache on this machine does not hold it", fix=fix)
    why = reasons.first_line(error)
    return MissingArtifact(f"{what}: {why}", fix="check the name and the network, or name a local folder instead")


def why_not() -> str:
    """Why the hub is not asked; nothing where it answers, whatever it says."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if _is_switched_off():
        return "the Hugging Face hub is not asked, as HF_HUB_OFFLINE says"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except Exception as error:  # of requests, httpx, urllib3 or the system, by the client's generation
        memory.raise_shortage(error)
        return f"the Hugging Face hub can not be reached ({_cause(error)})"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings or advice of the hub's client or the datasets library; errors still raise."""
    from huggingface_hub import utils

    bars = not utils.are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets", "fsspec")]
    levels = [logger.level for logger in loggers]
    if bars:
        utils.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()


def _is_switched_off() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _cause(error: BaseException) -> str:
    """What the system says at the bottom of a network library's tower of errors."""
    seen: Optional[BaseException] = error
    found = "it does not answer" if "time" in type(error).__name__.lower() else ""
    while seen is not None and not found:
        if isinstance(seen, OSError) and seen.strerror:
            found = seen.strerror
        seen = seen.__cause__ or seen.__context__
    return found or reasons.first_line(error, 100)
