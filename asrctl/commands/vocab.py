"""Transcripts -> a character vocabulary; or a checkpoint's vocabulary, checked against the transcripts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from asrctl.commands import rule_flags
from asrctl.data import alphabet, labels, rules, split_roles, text_statistics
from asrctl.data.manifest import CorpusChoice, listed
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.errors import BadData, UsageError
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import amounts
from asrctl.models import model_files, processor
from asrctl.storage import files, hub
from asrctl.storage.hashing import digest
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 1
_FIX_VOCAB = "build it with `asrctl vocab CORPUS`, or leave --vocab out"
_CHECKPOINT_FILES = (*model_files.TOKENIZER_FILES, "config.json")


@dataclass(frozen=True)
class VocabRequest:
    """A corpus, the rules, and (with `checkpoint`) the folder or hub name whose tokenizer is used instead.

    language: of a checkpoint of many languages; by default the one that its tokenizer is set to. command: the words
    typed, to be told again with what should be left out.
    """

    choice: CorpusChoice
    flags: rule_flags.RuleFlags = rule_flags.RuleFlags()
    checkpoint: Optional[str] = None
    command: Tuple[str, ...] = ()
    language: Optional[str] = None


@dataclass(frozen=True)
class VocabResult:
    """What was published, and what the transcripts hold.

    beyond: {split: {character: count}} of characters that the vocabulary does not have. unused: {split of the corpus
    that has no role: utterances}. alphabet, texts: as PrepareResult has them.
    """

    name: str
    id: str
    path: Path
    tokens: Tuple[str, ...]
    digest: str
    splits: Tuple[str, ...]
    characters: Mapping[str, int]
    beyond: Mapping[str, Mapping[str, int]]
    delimiters_in_text: int
    combining: Mapping[str, int]
    checkpoint: Optional[str]
    new: bool
    unused: Mapping[str, int] = field(default_factory=dict)
    alphabet: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, path=str(self.path), tokens=list(self.tokens), splits=list(self.splits))


def vocab(workspace: Workspace, request: VocabRequest, emit: Emit = ignore) -> VocabResult:
    """Build or take over a vocabulary, publish it, and let its name mean it. Raises BadData, UsageError."""
    if request.language is not None and request.checkpoint is None:
        raise UsageError("--from-language is a language of the checkpoint of --from", fix="add --from CHECKPOINT")
    decided = rule_flags.resolve(request.flags, workspace.root)
    name = request.choice.data_name
    with listed(workspace, request.choice, emit) as (_, wanted, listing):
        assigned = split_roles.assign(wanted, listing.path, listing.counts)
        assigned.tell(emit)
        vocabulary, text = None, decided.text
        if request.checkpoint is not None:
            vocabulary = checkpoint_vocabulary(request.checkpoint, request.language, emit)
            _refuse_other_units(request.checkpoint, vocabulary, text)
            _refuse_other_tokens(request.checkpoint, vocabulary, decided)
            text = _rules_for(text, vocabulary)
        scanned = text_statistics.scan(listing.utterances(), assigned, text)
        if vocabulary is not None:
            text_statistics.check_unknown(scanned, vocabulary, text, emit, splits=assigned.names)
        # Still in the block: its lock keeps `asrctl clean` away until the name leads to what is made here.
        splits = labels.splits(scanned, assigned, decided)
        if vocabulary is None:
            splits = labels.widened(scanned, assigned, decided, splits, emit)
        examined = alphabet.examine(scanned, splits, listing.utterances(), assigned, text)
        examined.warn(emit)
        scanned.report.warn(text, emit)
        result = publish(workspace, scanned, text, splits, vocabulary=vocabulary, name=name, emit=emit)
        workspace.set_ref("vocab", name, result.id)
    shown, texts = examined.told(request.command), scanned.report.as_dict(text)
    return replace(result, unused=assigned.unused, alphabet=shown, texts=texts)


def _rules_for(text: TextRules, vocabulary: Vocabulary) -> TextRules:
    """The rules with a vocabulary's special tokens; those that it lacks, or that no text can hold, stay."""
    delimiter = vocabulary.word_delimiter or ""
    if len(delimiter) != 1 or delimiter.isspace():
        delimiter = text.word_delimiter
    return replace(text, word_delimiter=delimiter, unk=vocabulary.unk or text.unk, pad=vocabulary.pad)


def _refuse_other_units(checkpoint: str, vocabulary: Vocabulary, text: TextRules) -> None:
    """Raises UsageError where the tokens of a checkpoint are phonemes and the texts letters, or the other way round."""
    if vocabulary.phones and text.phonemes is None:
        raise UsageError(
            f"the tokens of {checkpoint} are phonemes",
            fix="add --phonemes VOICE, such as --phonemes en-us, so that the texts are too",
        )
    if text.phonemes is not None and not vocabulary.phones:
        raise UsageError(f"the tokens of {checkpoint} are no phonemes", fix="leave out --phonemes, or --from")


def _refuse_other_tokens(checkpoint: str, vocabulary: Vocabulary, decided: rules.Rules) -> None:
    """Raises UsageError where somebody asked for a token and the checkpoint has another in its place."""
    asked = [
        f"{key} {getattr(vocabulary, key)!r}, not {getattr(decided.text, key)!r} ({decided.origins[f'text.{key}']})"
        for key in ("word_delimiter", "unk", "pad")
        if decided.chosen(f"text.{key}") and getattr(decided.text, key) != getattr(vocabulary, key)
    ]
    if asked:
        raise UsageError(
            f"the vocabulary of {checkpoint} has {', '.join(asked)}",
            fix="leave these out, or build a vocabulary of your own without --from",
        )


def publish(
    workspace: Workspace,
    scanned: text_statistics.Scan,
    text: TextRules,
    splits: Sequence[str],
    *,
    name: str,
    vocabulary: Optional[Vocabulary] = None,
    emit: Emit = ignore,
) -> VocabResult:
    """The `vocab` artifact of the characters of `splits`, or of a given vocabulary. Raises BadData, UsageError."""
    counts = scanned.characters(splits)
    if not sum(count for character, count in counts.items() if character != " "):
        where = ", ".join(splits)
        raise BadData(f"the transcripts of {where} hold no characters", fix="check the text column and --remove")
    built = vocabulary or build_vocabulary(counts, text)
    key = Key(
        "vocab",
        VERSION,
        parameters={"text": text.as_dict(), "splits": list(splits), "given": vocabulary is not None},
        inputs={"vocabulary": built.digest, "characters": digest(dict(counts))},
    )
    groups = scanned.by_name().items()
    beyond = {group: dict(text_statistics.unknown_characters(found.characters, built)) for group, found in groups}
    beyond = {group: found for group, found in beyond.items() if found}
    existing = workspace.find(key.kind, key.id)
    result = VocabResult(
        name=name,
        id=key.id,
        path=workspace.folder(key.kind, key.id),
        tokens=built.tokens,
        digest=built.digest,
        splits=tuple(splits),
        characters=dict(sorted(counts.items())),
        beyond=beyond,
        delimiters_in_text=scanned.delimiters,
        combining=text_statistics.combining_characters(counts),
        checkpoint=None,
        new=existing is None,
    )
    _tell(result, text, emit)
    if existing is None:
        with workspace.publish(key) as draft:
            if draft.published is None:
                built.save(draft.path)
                draft.summary.update(
                    name=name,
                    text=text.as_dict(),
                    splits=list(splits),
                    given=vocabulary is not None,
                    size=len(built),
                    digest=built.digest,
                    characters=result.characters,
                )
    return result


def _tell(result: VocabResult, text: TextRules, emit: Emit) -> None:
    for group, found in result.beyond.items():
        emit(
            Warned(
                f"{group} holds {amounts.count(sum(found.values()), 'character')} beyond the vocabulary: "
                f"{text_statistics.describe(found)}"
            )
        )
    if result.delimiters_in_text:
        emit(
            Note(
                f"the text itself holds the word delimiter {text.word_delimiter!r} "
                f"{amounts.count(result.delimiters_in_text, 'time')}; "
                "each counts as a space"
            )
        )
    if result.combining:
        emit(
            Warned(
                f"combining characters are left after NFC, each a label: {text_statistics.describe(result.combining)}"
            )
        )


def text_rules(artifact: Artifact) -> TextRules:
    """The rules a vocabulary was made by. Raises BadData."""
    stored = artifact.summary.get("text")
    try:
        return TextRules(**stored)  # type: ignore[arg-type]
    except TypeError:
        raise BadData(
            f"{artifact.path} does not say its rules", fix="build it again with `asrctl vocab CORPUS`"
        ) from None


# -- which one ---------------------------------------------------------------------------------------------------------


def choose(
    workspace: Workspace, wanted: Optional[str], decided: rules.Rules, name: str, emit: Emit
) -> Tuple[TextRules, Optional[Artifact]]:
    """The vocabulary called `wanted`, else that of the corpus `name` if it fits the rules; else None: it will be built.

    Raises MissingArtifact, UsageError.
    """
    artifact: Optional[Artifact]
    if wanted is not None:
        artifact = workspace.resolve("vocab", wanted, fix=_FIX_VOCAB)
        conflicts = _conflicts(artifact, decided)
        if conflicts:
            raise UsageError(
                f"the vocabulary {wanted} was made by other rules: {', '.join(conflicts)}",
                fix="leave these out, or leave --vocab out, so that one is built",
            )
        return text_rules(artifact), artifact
    identity = workspace.names("vocab").get(name)
    artifact = workspace.find("vocab", identity) if identity is not None else None
    if artifact is None:
        return decided.text, None
    conflicts = _conflicts(artifact, decided)
    if conflicts:
        emit(Note(f"the vocabulary {name} was made by other rules ({', '.join(conflicts)}); a new one is built"))
        return decided.text, None
    emit(Note(f"using the vocabulary {name} ({artifact.id})"))
    return text_rules(artifact), artifact


def _conflicts(artifact: Artifact, decided: rules.Rules) -> List[str]:
    """Rules that somebody set and the vocabulary was not made by."""
    made, wanted = text_rules(artifact).spelled_out(), decided.text.spelled_out()
    differing = [key for key in made if made[key] != wanted[key] and decided.chosen(f"text.{key}")]
    found = [
        f"{key} {made[key]!r}, not {wanted[key]!r}" if key != "replace" else "another table of replacements"
        for key in differing
    ]
    summary = artifact.summary
    splits = tuple(summary.get("splits", ()))
    if not summary.get("given") and decided.chosen("text.vocab_splits") and splits != decided.vocab_splits:
        found.append(f"splits {','.join(splits)}, not {','.join(decided.vocab_splits)}")
    return found


# -- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoint_vocabulary(checkpoint: str, language: Optional[str], emit: Emit = ignore) -> Vocabulary:
    """The vocabulary of a local folder or a hub name; only JSON is read. Raises BadData, MissingArtifact.

    language: of a model of many.
    """
    folder = files.expanded(checkpoint)
    if folder.is_dir():
        return processor.read_vocabulary(folder, language=language)
    if folder.exists() or checkpoint.startswith((".", "/", "~")):
        raise BadData(f"there is no checkpoint folder {checkpoint}", fix="give a folder, or a name on the hub")
    what = f"the vocabulary of {checkpoint} can not be had"
    found = hub.small_files(checkpoint, _CHECKPOINT_FILES, what, emit)
    return processor.read_vocabulary(found, language=language)
