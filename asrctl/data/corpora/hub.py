"""A data set of the Hugging Face hub, by name or in a folder: Parquet files, or what `save_to_disk` has written.

Rows are read from the files themselves; the datasets library says which files they are, and recordings are decoded from
the bytes in their cells, without its cache, its decoder or any program of the data set. See data/reading/hub/ and
https://huggingface.co/docs/datasets/repository_structure.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Iterator, Mapping

from asrctl.data.corpus import STREAMING, Corpus, CorpusOption, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import channels
from asrctl.data.reading.hub import repository as hub_repository
from asrctl.data.reading.hub import splits as hub_splits
from asrctl.data.utterance import Utterance
from asrctl.errors import UsageError
from asrctl.events import Note
from asrctl.storage import files

# Files and folders that are looked at to know a data set by its folder.
_LOOKED_AT = 2000


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The rows of the wanted splits, in the order of their files. Raises BadData, MissingArtifact, UsageError."""
    from asrctl.data.reading.hub.rows import Rows

    if request.source is None and request.address is None:
        raise UsageError("hub needs a data set", fix=f"say which: `asrctl prepare hub {CORPUS.examples[0]}`")
    repository = hub_repository.find(request)
    wanted = [*request.splits, *(name for name in request.optional_splits if _is_there(name, repository))]
    rows = Rows(repository, request)
    plan = hub_splits.planned(wanted, list(repository.files), rows.count, repository.label)
    unused = [
        name for name in repository.files if name not in {part.split for parts in plan.values() for part in parts}
    ]
    if unused:
        request.emit(Note(f"splits of {repository.label} that are not used: {', '.join(unused)}"))
    yield from channels.chosen(request, rows.utterances(plan))


def _is_there(typed: str, repository: hub_repository.Repository) -> bool:
    return all(name in repository.files for name in hub_splits.named(typed))


def _is_address(word: str) -> bool:
    return hub_repository.NAME.fullmatch(word) is not None and not files.expanded(word).exists()


def _default_name(source: str) -> str:
    return source.rpartition("/")[2] if _is_address(source) else named_as_folder(source)


def _downloads(request: CorpusRequest) -> Mapping[str, int]:
    """What is to be fetched of the wanted splits; nothing where the hub is not asked."""
    if request.address is None or not request.allow_download:
        return {}
    repository = hub_repository.find(request)
    typed = [*request.splits, *(name for name in request.optional_splits if _is_there(name, repository))]
    hub_splits.planned([name.partition("[")[0] for name in typed], list(repository.files), len, repository.label)
    wanted = {name for text in typed for split in hub_splits.named(text) for name in repository.files[split]}
    return {name: size for name, size in repository.sizes.items() if name in wanted}


def _recognizes(path: Path) -> Match:
    """Certain where a data set was saved, or Parquet files lie beside a README.md that says so."""
    if not path.is_dir():
        return Match.NO
    if hub_repository.is_saved(path):
        return Match.CERTAIN
    if not any(name.endswith(".parquet") for name in _names_below(path)):
        return Match.NO
    return Match.CERTAIN if hub_repository.has_card(path) else Match.POSSIBLE


def _names_below(folder: Path) -> Iterator[str]:
    """Names of files, those in the folder itself first; of many only so many that looking costs nothing."""
    waiting, left = [str(folder)], _LOOKED_AT
    while waiting and left > 0:
        with suppress(OSError), os.scandir(waiting.pop(0)) as entries:
            for entry in islice(entries, left):
                left -= 1
                if entry.name.startswith("."):
                    continue
                if Path(entry).is_dir():
                    waiting.append(entry.path)
                else:
                    yield entry.name


CORPUS = Corpus(
    name="hub",
    help="A data set of the Hugging Face hub: NAME, or a folder as the hub or save_to_disk stores it.",
    read=utterances,
    source="NAME",
    examples=(
        "librispeech_asr --config clean --train train.100 --eval validation",
        "google/fleurs --config de_de --text-column transcription --train 'train[:10%]'",
    ),
    options=(
        CorpusOption("--config", "Configuration of the data set, such as a language.", metavar="CONFIG"),
        CorpusOption("--revision", "Branch, tag or commit of a data set on the hub.", metavar="REVISION"),
        CorpusOption("--audio-column", "Column of the recordings, where several may be.", metavar="COLUMN"),
        CorpusOption("--text-column", "Column of the transcripts, where several may be.", metavar="COLUMN"),
        channels.OPTION,
        STREAMING,
    ),
    splits={"train": ("train",), "eval": ("validation", "dev")},
    split_names={},
    recognizes=_recognizes,
    is_address=_is_address,
    default_name=_default_name,
    downloads=_downloads,
    cache_files=("*.json",),
    fetches=True,
)
