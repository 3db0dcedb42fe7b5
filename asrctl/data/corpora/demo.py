"""The demo corpus as a corpus: built where it is missing, then read like any other."""

from __future__ import annotations

from typing import Iterator

from asrctl.data.corpus import ROLES, Corpus, CorpusRequest
from asrctl.data.demo_corpus import build_demo_corpus, is_built, may_hold_demo, planned_demo_corpus, read_demo_corpus
from asrctl.data.utterance import Utterance
from asrctl.errors import UsageError
from asrctl.events import Progress
from asrctl.storage import files, output_paths


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """Build the corpus in `request.source`, or else in the cache. Raises MissingDependency, UsageError, OSError."""
    folder = request.source or request.cache
    if folder is None:
        raise UsageError("the demo corpus needs a folder", fix="say where to build it: `asrctl prepare demo FOLDER`")
    if request.source is not None:
        request.refuse_output(output_paths.resolve(folder))
    if request.source is not None and not may_hold_demo(folder):
        raise UsageError(
            f"{folder} holds something else, and the demo corpus is made by asrctl, not read",
            fix="leave the folder out, or name an empty one; `asrctl prepare folder FOLDER` reads your recordings",
        )
    if folder.is_dir():
        files.refuse_links(folder)
    if not request.write and not is_built(folder):
        return planned_demo_corpus()
    build_demo_corpus(
        folder, on_progress=lambda done, total: request.emit(Progress("demo corpus", done, total, "utterances"))
    )
    return read_demo_corpus(folder)


CORPUS = Corpus(
    name="demo",
    help="A small corpus that the machine speaks itself, in the workspace or in FOLDER.",
    read=utterances,
    source="[FOLDER]",
    examples=("",),
    cache_files=("corpus.json", "utterances.jsonl", *(f"{role}/demo-{role}-*.flac" for role in ROLES)),
)
