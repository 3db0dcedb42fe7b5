"""`prepare --shard I/N`: one job's share of a corpus; and all shares, for `prepare --merge`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from asrctl import __version__
from asrctl.commands.prepare_request import Found, PrepareRequest, listed
from asrctl.data import digests, shared_work
from asrctl.data.shared_work import Done, Share, Shares, Work
from asrctl.data.utterance import Utterance, read_manifest
from asrctl.errors import BadData, MissingArtifact, UsageError
from asrctl.events import Emit, Note, ignore
from asrctl.messages import amounts, command_lines
from asrctl.runtime.threads import default_workers
from asrctl.storage import files, records, stat_cache
from asrctl.storage.hashing import file_sha256
from asrctl.storage.workspace import Workspace

CACHE = "shares"
_FIX = "delete that folder, and run its job again"
_MOST = 100_000
_OWN = ("--merge", "--force", "--json")


@dataclass(frozen=True)
class ShareResult:
    """What a job has done. decoded, rejected, left: as in shared_work.Done. missing: shares that are not whole yet."""

    name: str
    shard: str
    utterances: int
    decoded: int
    rejected: int
    left: int
    missing: Tuple[int, ...]
    path: Path
    seconds: float

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, path=str(self.path), missing=list(self.missing))


def parse(typed: str) -> Share:
    """ "3/16". Raises UsageError."""
    number, _, of = typed.partition("/")
    is_fine = number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= _MOST
    if not is_fine:
        raise UsageError(
            f"--shard {typed!r} is no share of the work",
            fix="give its number and how many there are: the first of 16 jobs takes --shard 1/16, the last 16/16",
        )
    return Share(int(number), int(of))


def prepare_share(workspace: Workspace, request: PrepareRequest, share: Share, emit: Emit = ignore) -> ShareResult:
    """Read and decode a share of a corpus; what a killed job has left is gone on with. Takes no lock.

    Raises BadData, MissingArtifact, UsageError, PresetError, StorageError, OSError.
    """
    started = time.monotonic()
    with listed(workspace, request, emit, None, salted=True) as (found, _):
        folder = folder_of(workspace, found.name, share)
        work = work_of(found)
        if request.force:
            files.remove_tree(folder)
        else:
            _refuse_others(request, folder.parent, work, share)
        done = decode(found, work, folder, share, request.workers or default_workers(), emit)
        missing = tuple(n for n in range(1, share.of + 1) if not (folder.parent / str(n) / "done.json").exists())
    return ShareResult(
        found.name,
        str(share),
        done.utterances,
        done.decoded,
        done.rejected,
        done.left,
        missing,
        folder,
        round(time.monotonic() - started, 2),
    )


def decode(found: Found, work: Work, folder: Path, share: Share, workers: int, emit: Emit) -> Done:
    """What is missing of a share of a corpus that is listed. Raises BadData, StorageError, OSError."""
    done = _done(folder)
    if done is not None:
        merged = "" if shared_work.has_samples(folder) else ", and merged; --force decodes it again"
        emit(Note(f"shard {share} is done already{merged}"))
        return done
    _begin(folder, work)
    _, there = shared_work.begun(folder)
    first, end = share.stretch(work.utterances)
    if there:
        emit(Note(f"{amounts.count(there, 'utterance')} of shard {share} are done already"))
    with stat_cache.in_memory() as cache:
        utterances = digests.filled_in(
            islice(read_manifest(found.listing.path, first + there), end - first - there),
            end - first - there,
            cache,
            lambda path, status: None,
            workers=workers,
            afresh=True,
            emit=ignore,
        )
        return shared_work.build(
            folder, work, share, utterances, found.rules.audio, _Wanted(found), workers=workers, emit=emit
        )


class _Wanted:
    """Whether the audio of an utterance is needed: it has a role, and a text."""

    def __init__(self, found: Found) -> None:
        self._found = found

    def __call__(self, utterance: Utterance) -> bool:
        return self._found.roles.of(utterance) is not None and bool(self._found.rules.text.apply(utterance.text))


def folder_of(workspace: Workspace, name: str, share: Share) -> Path:
    return workspace.own(_root(workspace, name) / str(share.of) / str(share.number))


def _root(workspace: Workspace, name: str) -> Path:
    return workspace.own(workspace.root / "cache" / CACHE / name)


def work_of(found: Found) -> Work:
    """What is shared out."""
    listing, count = file_sha256(found.listing.path), sum(found.listing.counts.values())
    return on_this_machine(Work("", listing, count, asdict(found.rules.audio), {}))


def on_this_machine(work: Work) -> Work:
    """The same by the programs that are here."""
    import soundfile
    import soxr

    decoders = {"libsndfile": soundfile.__libsndfile_version__, "soxr": soxr.__version__}
    return replace(work, asrctl=__version__, decoders=decoders)


def _begin(folder: Path, work: Work) -> None:
    files.make_folder(folder)
    with files.unlocked_path(folder / "share.json") as temporary:
        temporary.write_text(json.dumps(records.as_dict(work)), encoding="utf-8")


def _recorded(folder: Path) -> Optional[Work]:
    path = folder / "share.json"
    if not path.exists():
        return None
    return records.read(Work, files.read_json(path, fix=_FIX), f"{path} is damaged", fix=_FIX)


def _done(folder: Path) -> Optional[Done]:
    path = folder / "done.json"
    if not path.exists():
        return None
    return records.read(Done, files.read_json(path, fix=_FIX), f"{path} is damaged", fix=_FIX)


def _refuse_others(request: PrepareRequest, root: Path, work: Work, share: Share) -> None:
    """Raises UsageError where shares of another work lie where ours belong: they could not be merged with it."""
    for number, other in _works(root):
        differences = work.differences(other)
        if differences:
            begin = again(request, "--shard", str(share), "--force")
            raise UsageError(
                f"shard {number}/{share.of} was made from something else: {shown(work, other, differences)}",
                fix=f"use the same corpus, options and versions in all jobs; to begin anew, type `{begin}` in each",
            )


def remove_others(root: Path, work: Work, *, everything: bool) -> None:
    """Delete the shares of another work, or all that there are."""
    for number, other in list(_works(root)):
        if everything or work.differences(other):
            files.remove_tree(root / str(number))


def _works(root: Path) -> Iterator[Tuple[int, Work]]:
    """(number, work) of the shares that were begun."""
    numbers = sorted(int(path.name) for path in root.glob("*") if path.name.isdecimal())
    for number in numbers:
        found = _recorded(root / str(number))
        if found is not None:
            yield number, found


def shown(work: Work, other: Work, differences: Sequence[str]) -> str:
    """What `other` has otherwise, for people."""
    if "asrctl" in differences:
        return f"by asrctl {other.asrctl}, and this is {work.asrctl}"
    if "decoders" in differences:
        versions = [", ".join(f"{name} {one}" for name, one in each.decoders.items()) for each in (other, work)]
        return f"by {versions[0]}, and here are {versions[1]}"
    return f"{', '.join(differences)} differ" if len(differences) > 1 else f"{differences[0]} differs"


def again(request: PrepareRequest, *words: str) -> str:
    """The command that was typed, with other options of this module."""
    return command_lines.shown([*command_lines.without(request.command, ("--shard",), _OWN), *words])


# -- merging ----------------------------------------------------------------------------------------------------------


def complete(workspace: Workspace, request: PrepareRequest, found: Found) -> Shares:
    """The shares of a corpus, all there and all of the same work. Raises MissingArtifact, BadData."""
    root = _root(workspace, found.name)
    counts = sorted(int(path.name) for path in root.glob("*") if path.name.isdecimal())
    if not counts:
        raise MissingArtifact(
            f"no job has decoded a share of {found.name} yet",
            fix=f"type `{again(request, '--shard', '1/2')}` in one job and 2/2 in another, then merge",
        )
    missing = {of: [n for n in range(1, of + 1) if _done(root / str(of) / str(n)) is None] for of in counts}
    of = min(counts, key=lambda count: (len(missing[count]), count))
    if missing[of]:
        commands = [f"`{again(request, '--shard', f'{number}/{of}')}`" for number in missing[of][:3]]
        raise MissingArtifact(
            f"{found.name} lacks shards {numbers(missing[of])} of {of}",
            fix=f"run {', '.join(commands)}{' and so on' if len(missing[of]) > 3 else ''}, then merge again",
        )
    work = work_of(found)
    folders = [root / str(of) / str(number) for number in range(1, of + 1)]
    for number, folder in enumerate(folders, 1):
        other = _recorded(folder)
        differences = ["its share.json"] if other is None else work.differences(other)
        if other is None or differences:
            begin = again(request, "--shard", f"{number}/{of}", "--force")
            told = "its share.json is missing" if other is None else shown(work, other, differences)
            raise BadData(
                f"shard {number}/{of} was made from something else: {told}",
                fix=f"merge with the options and the version of the jobs, or run `{begin}`",
            )
    return Shares(folders)


def numbers(found: Sequence[int]) -> str:
    """1, 2, 3, 7 -> "1-3, 7"."""
    spans: List[List[int]] = []
    for number in found:
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
