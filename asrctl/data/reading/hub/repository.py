"""Data sets as the Hugging Face hub stores them: which files make up a split, and where these are.

A repository is a folder here, or a name on the hub, whose files are fetched one by one into the hub's cache, when they
are needed. Which file belongs to which configuration and split is for the datasets library to say: it is shown the
repository's folder, or one of empty files with the same names. No code of a repository is ever run.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from asrctl.data.corpus import STREAMING, CorpusRequest
from asrctl.data.reading.hub import card as hub_card
from asrctl.data.reading.hub import snapshot as hub_snapshot
from asrctl.data.reading.hub.snapshot import Fetcher, Snapshot
from asrctl.errors import AsrctlError, BadData, MissingArtifact, UsageError
from asrctl.events import Note
from asrctl.messages import amounts, reasons, suggestions
from asrctl.runtime import compat, memory
from asrctl.storage import addresses, files, hub
from asrctl.storage.addresses import Address
from asrctl.storage.json_shape import OPTIONAL_TEXT, misfit

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
PARQUET_BRANCH = "refs/convert/parquet"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\D.*)?")


def _nowhere(name: str) -> Path:
    raise FileNotFoundError(name)


@dataclass(frozen=True)
class Repository:
    """A configuration of a data set.

    label: as people know it. config: its name. files: {split: names of its files, in order}. rows: {split: rows}, as
    far as the repository says so itself. features: {column: what the datasets library calls it}. names: of all files.
    get: where a file is, fetched if need be. sizes: {name: bytes} of what is not here yet.
    """

    label: str
    config: Optional[str]
    files: Mapping[str, Sequence[str]]
    rows: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] = ()
    get: Callable[[str], Path] = _nowhere
    sizes: Mapping[str, int] = field(default_factory=dict)

    def check_whole(self, split: str) -> None:
        """Raises BadData where the names of a split's files say that there are more of them."""
        found: Dict[str, set] = {}
        for name in self.files[split]:
            match = _SHARD.fullmatch(name)
            if match:
                found.setdefault(f"{match[1]}-of-{match[3]}", set()).add(int(match[2]))
        for key, numbers in found.items():
            missing = sorted(set(range(int(key[-5:]))) - numbers)
            if missing:
                told = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
                raise BadData(
                    f"{self.label} lacks {amounts.count(len(missing), 'file')} of its split {split}: of "
                    f"{int(key[-5:])} there {amounts.noun(len(missing), 'is no number', 'are no numbers')} {told}",
                    fix="fetch the repository again, whole",
                )


def find(request: CorpusRequest) -> Repository:
    """What the user points at. Raises BadData, MissingArtifact, UsageError."""
    config, revision = request.options.get("config"), request.options.get("revision")
    if request.address is not None and addresses.is_address(request.address):
        return _of_folder_elsewhere(addresses.parsed(request.address), config, request)
    if request.address is not None:
        return _of_hub(request.address, config, revision, request)
    folder = request.source or Path()
    if revision is not None:
        raise UsageError("--revision is of a name on the hub, and this is a folder", fix="leave --revision out")
    if not folder.is_dir():
        what = "a file, not the folder of a data set" if folder.exists() else "not there"
        raise BadData(f"{folder} is {what}", fix="give the folder of a data set, or its name on the hub")
    saved = _saved(folder)
    if saved is not None:
        if config is not None:
            raise UsageError(f"{folder} is one saved data set, without configurations", fix="leave --config out")
        return saved
    _refuse_script(str(folder), folder.resolve().name, files.names_in(folder), is_folder=True)
    return _of_folder(folder, str(folder), config)


def is_saved(folder: Path) -> bool:
    """Whether the datasets library has saved a data set there, or several by split."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def has_card(folder: Path) -> bool:
    """Whether a README.md says in its head how the data set is made up, as it does on the hub."""
    try:
        with files.open_regular(folder / hub_card.README, fix="") as stream:
            head = stream.read(1 << 16)
    except (BadData, OSError):
        return False
    return head.startswith(b"---") and re.search(rb"^(configs|dataset_info):", head, re.MULTILINE) is not None


def _saved(folder: Path) -> Optional[Repository]:
    """What `save_to_disk` has written there; None where it has written nothing. Raises BadData."""
    fix = "save the data set again, with save_to_disk"
    if (folder / "dataset_dict.json").is_file():
        listed = files.read_json(folder / "dataset_dict.json", fix=fix)
        problem = misfit(listed, {"splits": [str]})
        if problem:
            raise BadData(f"{folder / 'dataset_dict.json'} is damaged ({problem})", fix=fix)
        inner = {split: folder / split for split in listed["splits"]}
    elif (folder / "state.json").is_file():
        inner = {"": folder}
    else:
        return None
    found: Dict[str, List[str]] = {}
    for split, place in inner.items():
        state = files.read_json(place / "state.json", fix=fix)
        problem = misfit(state, {"_data_files": [{"filename": str}], "_split?": OPTIONAL_TEXT})
        if problem:
            raise BadData(f"{place / 'state.json'} is damaged ({problem})", fix=fix)
        names = [os.path.join(split, Path(one["filename"]).name) for one in state["_data_files"]]
        found[split or state.get("_split") or "train"] = names
    everything = [name for names in found.values() for name in names]
    return Repository(str(folder), None, found, names=everything, get=lambda name: folder / name)


def _of_folder(folder: Path, label: str, config: Optional[str]) -> Repository:
    layout = _layout(folder, label, config)
    return replace(layout, names=[], get=lambda name: folder / name)


def _refuse_script(label: str, name: str, names: Sequence[str], *, is_folder: bool) -> None:
    """Raises BadData for a data set that is made by a program."""
    if f"{name}.py" not in names:
        return
    fix = f"name it as the hub does, and read its parquet branch: --revision {PARQUET_BRANCH}"
    if not is_folder:
        fix = "save it by save_to_disk where you trust its program, and name that folder"
    raise BadData(f"{label} is made by a program ({name}.py), and asrctl runs no code of a data set", fix=fix)


# -- what the datasets library says -----------------------------------------------------------------------------------


def _layout(folder: Path, label: str, config: Optional[str]) -> Repository:
    """Of a folder, or of one with empty files of the same names. Raises BadData, UsageError."""
    with hub.quiet(), tempfile.TemporaryDirectory() as cache:
        import datasets

        cards = {} if compat.datasets_reads_cards() else hub_card.configurations(folder)
        chosen = config or hub_card.default(folder, cards)
        if cards and chosen not in cards:
            raise _unknown_config(label, config, list(cards))
        try:
            if cards:
                builder = datasets.load_dataset_builder(str(folder), **cards[chosen or ""], cache_dir=cache)
            else:
                builder = datasets.load_dataset_builder(str(folder), config, cache_dir=cache)
        except Exception as error:  # the library's own, of several kinds in each generation
            memory.raise_shortage(error)
            raise _unknown_layout(folder, label, config, error) from None
    listed = builder.config.data_files or {}
    root = os.path.join(os.path.realpath(str(folder)), "")
    names = {str(split): [_inside(root, str(path)) for path in paths] for split, paths in listed.items()}
    rows = {name: split.num_examples for name, split in (builder.info.splits or {}).items() if split.num_examples}
    return Repository(label, chosen or builder.config.name, names, rows, dict(builder.info.features or {}))


def _inside(root: str, path: str) -> str:
    real = os.path.join(os.path.realpath(str(Path(path).parent)), Path(path).name)
    return real[len(root) :] if real.startswith(root) else path


def _unknown_layout(folder: Path, label: str, config: Optional[str], error: Exception) -> AsrctlError:
    import datasets

    try:
        known = datasets.get_dataset_config_names(str(folder))
    except Exception as again:
        memory.raise_shortage(again)
        known = []
    if (config is not None and known and config not in known) or (config is None and len(known) > 1):
        return _unknown_config(label, config, known)
    return BadData(
        f"{label} holds no data that the datasets library knows ({reasons.first_line(error, 160)})",
        fix="check that this is the folder of a data set: Parquet files, and a README.md that says their splits",
    )


def _unknown_config(label: str, config: Optional[str], known: Sequence[str]) -> UsageError:
    if config is not None:
        fix = suggestions.one_of(config, known) if list(known) != ["default"] else "leave --config out"
        return UsageError(f"{label} has no configuration {config!r}", fix=fix)
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return UsageError(f"{label} has several configurations: {shown}", fix=f"choose one, such as --config {known[0]}")


# -- of the hub -------------------------------------------------------------------------------------------------------


def _of_hub(name: str, config: Optional[str], revision: Optional[str], request: CorpusRequest) -> Repository:
    offline = "--no-download forbids to fetch it" if not request.allow_download else hub.why_not()
    found = hub_snapshot.find(name, revision, offline, request)
    fetch = Fetcher(name, found, request)
    script = name.rpartition("/")[2]
    if revision is None and f"{script}.py" in found.names and not offline:
        converted = _converted(name, request)
        if converted is None:
            _refuse_script(name, script, list(found.names), is_folder=False)
        else:
            request.emit(Note(f"{name} is made by a program, which is never run: its branch {PARQUET_BRANCH} is read"))
            found, fetch, revision = converted, Fetcher(name, converted, request), PARQUET_BRANCH
    where = f"--revision {found.commit} reads the same again"
    request.emit(Note(f"{name} at {revision or 'main'} is commit {found.commit[:12]}; {where}"))
    request.tell_version(found.commit)
    if _is_converted(found.names):
        layout = _converted_layout(name, config, found.names)
    else:
        _refuse_script(name, script, list(found.names), is_folder=False)
        with tempfile.TemporaryDirectory() as place:
            folder = _imitated(Path(place), list(found.names), fetch)
            layout = _layout(folder, name, config)
    there = (file for file in found.names if not fetch.streams(file) and fetch.cached(file) is None)
    sizes = {file: found.names[file] or 0 for file in there}
    return replace(layout, names=list(found.names), get=fetch, sizes=sizes)


def _imitated(place: Path, names: Sequence[str], fetch: Callable[[str], Path]) -> Path:
    """A folder of empty files with the names of a repository, and its README.md."""
    folder = place / "repository"
    folder.mkdir()
    for name in names:
        path = folder / name
        if name.endswith(".py") or ".." in path.parts or name.startswith("/"):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if hub_card.README in names:
        readme = files.read_bytes(fetch(hub_card.README), fix="fetch the repository again")
        (folder / hub_card.README).write_bytes(readme)
    return folder


# -- of a bucket ------------------------------------------------------------------------------------------------------


def _of_folder_elsewhere(address: Address, config: Optional[str], request: CorpusRequest) -> Repository:
    """As the hub lays it out, in a bucket. Raises BadData, MissingArtifact, MissingDependency, UsageError."""
    mirror, label = request.remote, address.shown
    if request.options.get("revision") is not None:
        raise UsageError(f"--revision is of a name on the hub, and {label} is none", fix="leave --revision out")
    if mirror is None or not request.allow_download:
        raise MissingArtifact(f"{label} would have to be fetched", fix="run without --no-download, or name a folder")
    listed = mirror.names(address)
    if "dataset_dict.json" in listed or "state.json" in listed:
        folder = mirror.whole(address) if request.write else None
        saved = _saved(folder) if folder is not None else None
        here = saved or Repository(
            label, None, {}, sizes={"the saved data set": sum(one.size or 0 for one in listed.values())}
        )
        return replace(here, label=label)
    _refuse_script(label, address.path.rpartition("/")[2], list(listed), is_folder=True)
    with tempfile.TemporaryDirectory() as place:

        def card(name: str) -> Path:
            path = Path(place) / "card"
            path.write_bytes(mirror.peek(address.beside(name), hub_card.MAX_BYTES))
            return path

        layout = _layout(_imitated(Path(place), list(listed), card), label, config)

    def is_streamed(name: str) -> bool:
        return bool(request.options.get(STREAMING.key)) and name.endswith(".parquet")

    def get(name: str) -> Path:
        return (mirror.streamed if is_streamed(name) else mirror.get)(address.beside(name))

    sizes = {name: one.size or 0 for name, one in listed.items() if not one.is_here and not is_streamed(name)}
    return replace(layout, names=list(listed), get=get, sizes=sizes)


# -- the parquet branch -----------------------------------------------------------------------------------------------


def _converted(name: str, request: CorpusRequest) -> Optional[Snapshot]:
    """The parquet branch that the hub makes of most data sets; None where it has made none."""
    try:
        found = hub_snapshot.find(name, PARQUET_BRANCH, "", replace(request, write=False))
    except MissingArtifact:
        return None
    return found if _is_converted(found.names) else None


def _is_converted(names: Mapping[str, Any]) -> bool:
    """Whether files lie as CONFIGURATION/SPLIT/0000.parquet, and no README.md says more."""
    data = [name for name in names if name.endswith(".parquet")]
    plain = all(re.fullmatch(r"[^/]+/[^/]+/\d{4,5}\.parquet", name) for name in data)
    return bool(data) and plain and hub_card.README not in names


def _converted_layout(name: str, config: Optional[str], names: Mapping[str, Any]) -> Repository:
    """Raises UsageError."""
    data = sorted(file for file in names if file.endswith(".parquet"))
    configs = list(dict.fromkeys(file.split("/")[0] for file in data))
    if config is None and len(configs) > 1:
        fix = f"choose one, such as --config {shlex.quote(configs[0])}"
        raise UsageError(f"{name} has several configurations: {', '.join(configs[:20])}", fix=fix)
    chosen = config or configs[0]
    if chosen not in configs:
        raise UsageError(f"{name} has no configuration {chosen!r}", fix=suggestions.one_of(chosen, configs))
    found: Dict[str, List[str]] = {}
    for file in data:
        if file.split("/")[0] == chosen:
            found.setdefault(file.split("/")[1], []).append(file)
    for split in [split for split in found if split.startswith("partial-")]:
        raise BadData(
            f"the branch {PARQUET_BRANCH} of {name} holds only a part of {chosen} ({split})",
            fix="save the data set by save_to_disk where you trust its program, and name that folder",
        )
    return Repository(name, chosen, found)
