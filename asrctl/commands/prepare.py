"""Corpus -> prepared data: int16 samples and labels in shards, every dropped utterance listed with its reason."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from asrctl.commands import kept_labels, prepare_share, rule_flags, vocab
from asrctl.commands.prepare_request import Found, PrepareRequest, listed
from asrctl.data import (
    alphabet,
    corpora,
    duplicates,
    labels,
    manifest,
    phonemes,
    raw_texts,
    rejects,
    remarks,
    shards,
    size_estimate,
    staleness,
    text_statistics,
)
from asrctl.data.audit import brief
from asrctl.data.dataset import PreparedData, totals
from asrctl.data.shared_work import Shares
from asrctl.data.summary import PreparedSummary, SplitSummary
from asrctl.data.text import TextRules, Vocabulary
from asrctl.data.utterance import Utterance, read_manifest
from asrctl.errors import BadData, StorageError, UsageError
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import amounts
from asrctl.runtime.threads import default_workers
from asrctl.storage import files, records
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact, Draft, Key, Workspace

VERSION = 2


@dataclass(frozen=True)
class PrepareResult:
    """Prepared data. new: False where it was there already. splits, reasons: as in the artifact's summary; unused:
    {split without a role: utterances}. alphabet: as in alphabet.Alphabet, with the command that leaves signs out.
    texts: as in text_report.TextReport: replacements, numbers and tags.
    copies: {two roles: utterances of the second whose recording is in the first too}. shared: what two splits have in
    common beyond that, as {"sentences" | "speakers" | "audio": {two roles: how many of the second}}.
    """

    name: str
    id: str
    path: Path
    new: bool
    splits: Mapping[str, SplitSummary]
    unused: Mapping[str, int]
    vocabulary: Mapping[str, Any]
    alphabet: Mapping[str, Any]
    texts: Mapping[str, Any]
    copies: Mapping[str, int]
    shared: Mapping[str, Mapping[str, int]]
    bytes: int
    seconds: float

    def as_dict(self) -> Dict[str, Any]:
        return dict(records.as_dict(self), path=str(self.path))


def _speaker(text: TextRules) -> Mapping[str, str]:
    """What makes phonemes of texts adds to the key of the data: nothing where they stay texts."""
    return {} if text.phonemes is None else {"speaker": phonemes.version(text.phonemes)}


def prepare(workspace: Workspace, request: PrepareRequest, emit: Emit = ignore) -> PrepareResult:
    """List, check, decode and publish a corpus; a rerun goes on at the shard where it stopped.

    Raises BadData (unusable corpus, too many rejects or unknown characters), MissingArtifact, UsageError, PresetError,
    StorageError, OSError.
    """
    started = time.monotonic()
    if not 0 <= request.max_rejects <= 1:
        raise UsageError(f"--max-rejects {request.max_rejects:g} is no share", fix="use a number from 0 to 1")
    workers = request.workers or default_workers()
    watcher = staleness.Watcher(request.choice.source, workspace.root)
    if request.flags.replace_file is not None:
        watcher.reads(str(files.expanded(request.flags.replace_file)))
    with listed(workspace, request, emit, watcher) as (found, listing):
        shares = prepare_share.complete(workspace, request, found) if request.merge else None
        published = manifest.publish(
            workspace, listing, watcher, workers=workers, afresh=request.force, shares=shares, emit=emit
        )
        # Still in the block: until the name is set, nothing leads to what is made here, and only the listing's lock
        # tells `asrctl clean` that somebody is at work between one artifact and the next.
        result = _Job(workspace, request, found, published, shares, workers, emit).run()
        # What can not be trained on is never what the next `train` takes by itself.
        trains, source = "train" in result.splits, records.as_dict(watcher.record(request.command))
        workspace.set_ref("prepared", result.name, result.id, latest=trains, source=source)
        if shares is not None:
            shares.give_back()
    return replace(result, seconds=round(time.monotonic() - started, 2))


class _Job:
    """The preparation of one corpus."""

    def __init__(
        self,
        workspace: Workspace,
        request: PrepareRequest,
        found: Found,
        published: Artifact,
        shares: Optional[Shares],
        workers: int,
        emit: Emit,
    ) -> None:
        self._workspace = workspace
        self._request = request
        self._found = found
        self._manifest = published
        self._sources = shards.sources if shares is None else shares.sources
        self._workers = workers
        self._emit = emit
        self._scan = text_statistics.scan(self._utterances(), found.roles, found.rules.text)
        self._labeled: Tuple[str, ...] = ()
        self._copies = duplicates.tell(self._utterances, found.roles, emit)

    def _utterances(self, role: Optional[str] = None) -> Iterator[Utterance]:
        """All, or those that are meant for a role; among them what is dropped, to be listed with the rejects."""
        everything = read_manifest(self._manifest.path / "utterances.jsonl")
        return everything if role is None else (item for item in everything if self._found.roles.meant(item) == role)

    def run(self) -> PrepareResult:
        vocabulary, vocabulary_id = self._vocabulary()
        splits, named = self._found.roles.names, self._request.vocab
        text_statistics.check_unknown(
            self._scan, vocabulary, self._found.rules.text, self._emit, splits=splits, named=named
        )
        key = self._key(vocabulary)
        force = self._request.force
        done = self._workspace.find(key.kind, key.id) if not force else None
        if done is not None:
            return self._nothing_to_do(done)
        self._tell_size(key)
        with self._workspace.publish(key, keep_partial=True, replace=force) as draft:
            if draft.published is None:
                self._fill(draft, vocabulary, vocabulary_id)
        artifact = draft.published
        if artifact is None:
            raise BadData(f"{key.id} was not published", fix="run the command again")
        return self._result(artifact, new=True)

    def _vocabulary(self) -> Tuple[Vocabulary, str]:
        found = self._found
        splits = labels.splits(self._scan, found.roles, found.rules) if found.given is not None else self._collect()
        self._labeled = splits
        examined = alphabet.examine(self._scan, splits, self._utterances(), found.roles, found.rules.text)
        examined.warn(self._emit, proposes=found.chooses_text(self._request))
        self._scan.report.warn(found.rules.text, self._emit)
        if found.given is not None:
            return Vocabulary.load(found.given.path), found.given.id
        built = vocab.publish(self._workspace, self._scan, found.rules.text, splits, name=found.name, emit=self._emit)
        return Vocabulary.load(built.path), built.id

    def _collect(self) -> Tuple[str, ...]:
        """The splits that the vocabulary is collected from; the scan then holds only what becomes labels of it."""
        found = self._found
        splits = labels.splits(self._scan, found.roles, found.rules)
        before = None if self._request.force else self._before(splits)
        if before is not None:
            splits, vocabulary = before
            unknown = text_statistics.unknown_characters(self._scan.characters(splits), vocabulary)
            self._scan = self._scan.without(unknown, splits)
            return splits
        self._scan, splits = labels.collected(
            self._scan, found.roles, found.rules, self._utterances, self._request.max_rejects, self._workers, self._emit
        )
        return splits

    def _before(self, splits: Tuple[str, ...]) -> Optional[Tuple[Tuple[str, ...], Vocabulary]]:
        """Where this corpus is prepared already: the splits that its vocabulary is of, and the vocabulary.

        Looking for witnesses again would cost decoding, and find the same.
        """
        identity = self._workspace.names("prepared").get(self._found.name)
        data = self._workspace.find("prepared", identity) if identity is not None else None
        made = self._workspace.find("vocab", PreparedData(data).summary.vocabulary) if data is not None else None
        if data is None or made is None or made.summary.get("given"):
            return None
        vocabulary, of = Vocabulary.load(data.path / "vocab"), tuple(made.summary.get("splits", ()))
        same = of in (splits, (*splits, "eval")) and self._key(vocabulary).id == data.id
        return (of, vocabulary) if same else None

    def _key(self, vocabulary: Vocabulary) -> Key:
        decided = self._found.rules
        dropped = self._found.roles.dropped
        preset = decided.preset and Path(decided.preset).stem
        label = corpora.find(self._request.choice.corpus).split_label
        return Key(
            "prepared",
            VERSION,
            parameters={
                **self._found.listing.versioned,
                **_speaker(decided.text),
                "name": self._found.name,
                "corpus": self._request.choice.corpus,
                "preset": preset,
                "sample_rate": decided.audio.sample_rate,
                "min_s": decided.audio.min_s,
                "max_s": decided.audio.max_s,
                "text": decided.text.as_dict(),
                "conv": [list(decided.kernels), list(decided.strides)],
                "sources": {role: list(map(label, splits)) for role, splits in self._found.roles.by_role.items()},
                "shard": [shards.SHARD_BYTES, shards.SHARD_UTTERANCES],
                **({"dropped": digest(sorted(dropped.items()))} if dropped else {}),
            },
            inputs={"vocabulary": vocabulary.digest, "splits": self._scan.digests},
        )

    def _tell_size(self, key: Key) -> None:
        """Say what will be written and what fits. Raises StorageError where it does not fit."""
        self._workspace.create()
        wanted = size_estimate.num_bytes(self._utterances(), self._found.roles, self._scan, self._found.rules.audio)
        wanted = max(0, wanted - files.folder_bytes(self._workspace.building(key)))
        free = shutil.disk_usage(str(self._workspace.root)).free
        self._emit(Note(f"prepared speech will take about {amounts.size(wanted)} on disk ({amounts.size(free)} free)"))
        if wanted > free:
            raise StorageError(
                f"prepared speech needs about {amounts.size(wanted)}, and {self._workspace.root} has "
                f"{amounts.size(free)} free",
                fix="free some space (`asrctl clean` shows what can go), or choose a --workspace on a larger disk",
            )

    def _fill(self, draft: Draft, vocabulary: Vocabulary, vocabulary_id: str) -> None:
        decided = self._found.rules
        for left in draft.path.rglob(".*.tmp"):  # half a file of a try that was killed
            left.unlink()
        (draft.path / "vocab").mkdir(exist_ok=True)
        vocabulary.save(draft.path / "vocab")
        names = self._found.roles.names
        limit = self._limit(sum(self._scan.utterances(role) for role in names))
        convert = shards.Converter(decided, vocabulary, self._found.roles.dropped)
        splits = {}
        for role in names:
            job = shards.SplitJob(
                role,
                draft.path / role,
                self._total(role),
                convert,
                self._workers,
                decided.audio.sample_rate,
                self._sources,
            )
            reasons = shards.build_split(job, self._utterances(role), limit, self._emit)
            split = self._split_summary(job, reasons)
            if split.utterances:
                splits[role] = split
            else:
                self._empty(job, limit)
        summary = PreparedSummary(
            name=self._found.name,
            corpus=self._request.choice.corpus,
            preset=decided.preset,
            sample_rate=decided.audio.sample_rate,
            min_s=decided.audio.min_s,
            max_s=decided.audio.max_s,
            text=decided.text.as_dict(),
            conv_kernel=decided.kernels,
            conv_stride=decided.strides,
            vocabulary=vocabulary_id,
            vocabulary_digest=vocabulary.digest,
            vocabulary_size=len(vocabulary),
            manifest=self._manifest.id,
            note=self._found.roles.note,
            splits=splits,
        )
        draft.summary = records.as_dict(summary)

    def _total(self, role: str) -> int:
        """Utterances of a role, those that are dropped too."""
        roles = self._found.roles
        gone = (item for item in self._utterances(role) if item.id in roles.dropped) if roles.dropped else ()
        return self._scan.utterances(role) + sum(1 for _ in gone)

    def _limit(self, total: int) -> rejects.RejectLimit:
        return rejects.RejectLimit(self._request.max_rejects, total, self._found.rules.audio, self._found.listing.hints)

    def _split_summary(self, job: shards.SplitJob, reasons: Mapping[str, int]) -> SplitSummary:
        utterances, samples = totals(job.folder)
        return SplitSummary(
            utterances=utterances,
            seconds=round(samples / job.sample_rate, 3),
            rejected=sum(reasons.values()),
            reasons=dict(reasons),
            sources=tuple(self._found.roles.by_role[job.name]),
            remarks=remarks.tell(job.folder, self._emit) or None,
            raw_texts=self._keep_texts(job),
        )

    def _keep_texts(self, job: shards.SplitJob) -> int:
        """The corpus' own texts beside those that the rules made; how many differ."""
        left_out = rejects.read(job.folder / rejects.FILE)
        return raw_texts.write(job.folder, self._utterances(job.name), left_out, self._found.rules.text.apply)

    def _empty(self, job: shards.SplitJob, limit: rejects.RejectLimit) -> None:
        """Nothing of a split is left: fatal, unless it was only held out."""
        if job.name == "eval" and self._found.roles.held_out:
            self._emit(Warned("all held-out utterances are rejected: there is no eval split"))
            files.remove_tree(job.folder)
            return
        raise BadData(
            f"no utterance of the {job.name} split can be used",
            fix=limit.cure() if limit.reasons else f"leave fewer out: {self._request.drop} names all of them",
            problems=limit.lines(),
        )

    def _nothing_to_do(self, artifact: Artifact) -> PrepareResult:
        limit = self._limit(0)
        for split in PreparedData(artifact).summary.splits.values():
            counted = {reason: count for reason, count in split.reasons.items() if reason != rejects.DROPPED}
            limit.total += split.utterances + sum(counted.values())
            limit.reasons.update(counted)
        limit.seen = limit.total
        limit.check()
        for role in PreparedData(artifact).splits:
            remarks.tell(artifact.path / role, self._emit)
        self._emit(Note(f"{self._found.name} is prepared already ({artifact.id}): nothing to do"))
        return self._result(artifact, new=False)

    def _tell_labels(self, artifact: Artifact) -> Mapping[str, Any]:
        """The alphabet of what is kept."""
        found, words, text = self._found, self._request.command, self._found.rules.text
        kept = kept_labels.kept(self._scan, artifact, self._utterances, found.roles, text)
        if found.given is not None:
            own = rule_flags.resolve(self._request.flags, self._workspace.root).text
            again = kept_labels.with_own_labels(self._workspace, words, found.name, text, own)
            kept_labels.tell(kept, found.given, found.roles, self._labeled, again, self._emit)
        examined = alphabet.examine(kept, self._labeled, (), found.roles, text)
        return examined.told(words, proposes=found.chooses_text(self._request))

    def _result(self, artifact: Artifact, *, new: bool) -> PrepareResult:
        summary = PreparedData(artifact).summary
        return PrepareResult(
            name=self._found.name,
            id=artifact.id,
            path=artifact.path,
            new=new,
            splits=summary.splits,
            unused=self._found.roles.unused,
            vocabulary={"id": summary.vocabulary, "size": summary.vocabulary_size},
            alphabet=self._tell_labels(artifact),
            texts=self._scan.report.as_dict(self._found.rules.text),
            copies=self._copies,
            shared=brief.tell(PreparedData(artifact), self._copies, self._emit),
            bytes=files.folder_bytes(artifact.path),
            seconds=0.0,
        )
