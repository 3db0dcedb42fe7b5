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
from asrctl.events import Emit, Note, Warned, ignore
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


def cached_folder(name: str, filename: str, revision: Optional[str] = None) -> Optional[Path]:
    """The folder of a model in the hub's cache on this machine, if that file of it is there; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, filename, revision=revision)
    except ValueError:  # a name that can not be one of the hub's
        return None
    return Path(found).parent if isinstance(found, str) else None


def small_files(name: str, wanted: Sequence[str], what: str, emit: Emit = ignore, *, newest: bool = False) -> Path:
    """The folder with the first of these files of a model, and those of the others that it has: cached, else fetched.

    what: could not be done, where this raises MissingArtifact. newest: what is cached may be old, so the hub is asked.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    offline = ""
    try:
        cached = [try_to_load_from_cache(name, filename) for filename in wanted]
        if (
            not newest and isinstance(cached[0], str) and None not in cached[1:]
        ):  # what is known not to be there is no None
            return Path(cached[0]).parent
        emit(Note(f"looking for {wanted[0]} of {name} on the Hugging Face hub"))
        offline = why_not()
        with compat.quiet_transformers():
            found = Path(hf_hub_download(name, wanted[0], local_files_only=bool(offline))).parent
            unknown = [filename for filename in wanted[1:] if not _fetched_if_there(name, filename, bool(offline))]
    except Exception as error:  # the hub's errors have no common base over its generations
        memory.raise_shortage(error)
        raise missing(what, error, offline) from None
    if unknown:
        emit(Warned(f"the hub can not be reached, so {name} is taken to have no {', '.join(unknown)}"))
    return found


def _fetched_if_there(name: str, filename: str, offline: bool) -> bool:
    """Into the hub's cache; not every model has every file. False where the hub can not be asked.

    Raises what the hub raises for anything else.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError, LocalEntryNotFoundError

    try:
        hf_hub_download(name, filename, local_files_only=offline)
    except LocalEntryNotFoundError:
        return False
    except EntryNotFoundError:
        return True
    return True


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
