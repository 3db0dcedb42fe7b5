"""A commit of a data set on the Hugging Face hub: the names of its files, and each of them where it is needed.

Files come through the hub's client into its own cache. Which files there are is kept in the workspace as well: without
a network the cache knows only those that were fetched.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Mapping, NamedTuple, Optional

from asrctl.data.corpus import STREAMING, CorpusRequest
from asrctl.errors import MissingArtifact
from asrctl.events import Progress
from asrctl.messages import reasons
from asrctl.runtime import memory
from asrctl.storage import files, hub
from asrctl.storage.addresses import Address
from asrctl.storage.json_shape import misfit
from asrctl.storage.remote.stores import Info

_TRIES = 5
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE)


class Snapshot(NamedTuple):
    """A commit of a repository, and the branch, tag or commit that it was found by.

    names: {file: bytes, None if unknown}. offline: why the hub is not asked.
    """

    commit: str
    revision: str
    names: Mapping[str, Optional[int]]
    offline: str


def find(name: str, revision: Optional[str], offline: str, request: CorpusRequest) -> Snapshot:
    """Raises MissingArtifact, BadData."""
    from huggingface_hub import HfApi, snapshot_download, utils

    what = f"the data set {name} could not be found"
    try:
        with hub.quiet():
            if offline:
                folder = snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)
                return Snapshot(Path(folder).name, revision or "main", _noted(name, Path(folder), request), offline)
            info = HfApi().dataset_info(name, revision=revision, files_metadata=True)
    except utils.GatedRepoError:
        raise _gated(name) from None
    except utils.RevisionNotFoundError:
        fix = "give a branch, tag or commit that is there, or leave --revision out"
        raise MissingArtifact(f"the data set {name} has no revision {revision}", fix=fix) from None
    except utils.RepositoryNotFoundError:
        fix = "check the name; for a private one set HF_TOKEN to a token that may read it"
        raise MissingArtifact(f"the hub has no data set {name}, or shows it to its owners only", fix=fix) from None
    except Exception as error:  # the hub client raises many kinds, from several libraries
        memory.raise_shortage(error)
        raise _not_here(what, error, offline, request) from None
    names = {one.rfilename: getattr(one, "size", None) for one in info.siblings or ()}
    found = Snapshot(str(info.sha), revision or "main", names, "")
    _note(name, found, request)
    return found


def _not_here(what: str, error: Exception, offline: str, request: CorpusRequest) -> MissingArtifact:
    found = hub.missing(what, error, offline)
    if request.allow_download:
        return found
    return MissingArtifact(found.message, fix="run without --no-download, or name a local folder instead")


def _gated(name: str) -> MissingArtifact:
    return MissingArtifact(
        f"the data set {name} is gated: its owner asks for an agreement first",
        fix="agree on its page of the hub, and set HF_TOKEN to a token of that account",
    )


def _note_path(name: str, commit: str, request: CorpusRequest) -> Optional[Path]:
    return request.cache / f"{name.replace('/', '--')}@{commit}.json" if request.cache is not None else None


def _note(name: str, found: Snapshot, request: CorpusRequest) -> None:
    """Keep the names of all files for a time without a network: the hub's cache knows only those that were fetched."""
    path = _note_path(name, found.commit, request)
    if path is not None and request.write and not path.exists():
        files.make_folder(path.parent)
        files.write_json(path, dict(found.names))


def _noted(name: str, folder: Path, request: CorpusRequest) -> Mapping[str, Optional[int]]:
    path = _note_path(name, folder.name, request)
    if path is not None and path.is_file():
        known = files.read_json(path, fix="delete that file")
        if misfit(known, {"*": (int, type(None))}) is None:
            return known
    inside = (place for place in folder.rglob("*") if place.is_file())
    return {place.relative_to(folder).as_posix(): None for place in sorted(inside)}


class Fetcher:
    """Where the files of a commit are on this machine, fetched where they are not."""

    def __init__(self, name: str, found: Snapshot, request: CorpusRequest) -> None:
        self._name = name
        self._found = found
        self._request = request
        self._count = 0

    def cached(self, file: str) -> Optional[Path]:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self._name, file, revision=self._found.commit, repo_type="dataset")
        return Path(path) if isinstance(path, str) else None

    def streams(self, file: str) -> bool:
        """Whether a file is read where it is."""
        return bool(self._request.options.get(STREAMING.key)) and file.endswith(".parquet")

    def __call__(self, file: str) -> Path:
        """Raises MissingArtifact, OSError where the disk takes no more."""
        from huggingface_hub import utils

        path = self.cached(file)
        if path is not None:
            return path
        if self.streams(file) and self._request.remote is not None:
            address = Address("hf", "datasets", f"{self._name}@{self._found.commit}/{file}")
            size = self._found.names.get(file)
            known = Info(size, self._found.commit) if size is not None else None
            return self._request.remote.streamed(address, known)
        offline = self._found.offline
        if offline:
            what = f"{file} of {self._name} could not be fetched"
            raise _not_here(what, FileNotFoundError(file), offline, self._request)
        try:
            with hub.quiet():
                found = self._downloaded(file)
        except utils.GatedRepoError:
            raise _gated(self._name) from None
        except Exception as error:  # the hub client raises many kinds, from several libraries
            memory.raise_shortage(error)
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            why = reasons.first_line(error)
            fix = "check the network and run the command again: what has arrived is kept"
            raise MissingArtifact(f"{file} of {self._name} could not be fetched: {why}", fix=fix) from None
        self._count += 1
        self._keep_reference()
        self._request.emit(Progress(f"download {self._name}", self._count, None, "files", file))
        return found

    def _downloaded(self, file: str) -> Path:
        """Raises what the hub's client raises; a connection that broke half-way is made anew where it broke."""
        from huggingface_hub import hf_hub_download, utils

        for left in reversed(range(_TRIES)):
            try:
                return Path(hf_hub_download(self._name, file, repo_type="dataset", revision=self._found.commit))
            except (utils.EntryNotFoundError, utils.LocalEntryNotFoundError):  # nobody is there: no use to ask again
                raise
            except Exception as error:
                is_broken = getattr(error, "response", None) is None and getattr(error, "errno", None) is None
                if not is_broken or not left or memory.ran_out(error):
                    raise
        raise FileNotFoundError(file)

    def _keep_reference(self) -> None:
        """Note in the hub's cache which commit a branch or tag is, as its client does, for a time without a network."""
        from huggingface_hub import constants, file_download

        revision, commit = self._found.revision, self._found.commit
        folder = Path(constants.HF_HUB_CACHE) / file_download.repo_folder_name(repo_id=self._name, repo_type="dataset")
        path = folder / "refs" / revision
        known = path.read_text(encoding="utf-8") if path.is_file() else ""
        if revision != commit and known != commit and folder.resolve() in path.resolve().parents:
            files.make_folder(path.parent)
            files.write_text(path, commit)
