"""What `asrctl eval` shows on a terminal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

from asrctl.cli.confidence_lines import confidence_lines
from asrctl.cli.hotword_lines import hotword_lines
from asrctl.cli.report import duration, outlook_lines, table
from asrctl.messages import amounts

if TYPE_CHECKING:
    from asrctl.commands.dry_run import DryRun
    from asrctl.commands.evaluate import EvaluateResult
    from asrctl.commands.tuning import Tuned
    from asrctl.evaluation.metrics import EvaluationMetrics, Scored
    from asrctl.storage.workspace import Workspace

WORST_SHOWN = 5
_FOLDS_SHOWN = 4


def plan_lines(planned: "DryRun") -> List[str]:
    """What would be transcribed, how, and where the result would go."""
    found = planned.facts
    what = (
        f"{found['utterances']:,} {amounts.noun(found['utterances'], 'utterance')}, {found['audio_s'] / 60:.1f} "
        f"min, {found['precision']}"
    )
    lines = [f"to transcribe: split {found['split']}, {what} on {found['device']}, {found['decoder']}"]
    if not planned.unchanged:
        lines.append(f"time: {_time(found['time_s'])}")
    if found["memory_bytes"] is not None:
        lines.append(f"memory: at least {amounts.size(found['memory_bytes'])}, for the weights")
    return [*lines, *outlook_lines(planned)]


def _time(seconds: Optional[float]) -> str:
    if seconds is None:
        return "not known before it is done"
    return f"at most about {duration(seconds)}, which its training took for so much speech"


def result_lines(result: "EvaluateResult", place: "Workspace", worst: int = WORST_SHOWN) -> List[str]:
    """Rates, edits, the utterances with most errors, and what to type next."""
    found = result.metrics
    lines = [
        f"split {found.split} of {result.data}: {found.utterances:,} "
        f"{amounts.noun(found.utterances, 'utterance')}, "
        f"{found.audio_s / 60:.1f} min, "
        f"{found.precision} on {device_words(found.device)}, {decoder_words(found)}",
        "",
    ]
    header = ("", "error rate", "95 % interval", "in reference", "substituted", "deleted", "inserted")
    rows = [rates(found, "words", "wer", ""), *_other_rows(found), rates(found, "characters", "cer", "character_")]
    if found.phones:  # whose characters nobody counts
        rows = [["phonemes", *rows[0][1:]]]
        header = ("", "PER", *header[2:])
    lines += table(rows, header)
    if found.empty_references:
        empty = found.empty_references
        lines.append(
            f"{amounts.count(empty, 'reference is', 'references are')} empty; what was written for "
            f"{amounts.noun(empty, 'it', 'them')} counts as inserted"
        )
    lines += seen_lines(found)
    lines += hotword_lines(found.hotword_scores)
    lines += confidence_lines(found.confidence)
    lines += worst_lines(found.worst[:worst], "phoneme" if found.phones else "word")
    lines += ["", f"all hypotheses: {result.hypotheses}"]
    if result.page is not None:
        lines.append(f"report: {result.page}")
    target = ("--run", result.run) if result.run is not None else ("--model", str(result.model))
    return [*lines, f"next: {place.command('export', *target, '--format', 'hf')}"]


def _other_rows(found: "EvaluationMetrics") -> List[Sequence[Any]]:
    """Words of the other forms of the texts, where the rate is another one."""
    forms = (("words as in the corpus", found.raw), ("words, normalized", found.normalized))
    return [
        [name, *rates(score, "words", "wer", "")[1:]]
        for name, score in forms
        if score is not None and score.wer != found.wer
    ]


def tuned_lines(tuned: "Optional[Tuned]") -> List[str]:
    """What `--tune` has found."""
    if tuned is None:
        return []
    rates = sorted(tuned.tried, key=lambda row: row[2])
    worst = f"{percent(rates[-1][2])} at alpha {rates[-1][0]:g}, beta {rates[-1][1]:g}"
    return [
        f"tuned on {amounts.count(tuned.utterances, 'utterance')}: alpha {tuned.alpha:g}, beta {tuned.beta:g}, "
        f"WER {percent(tuned.wer)}; of {len(tuned.tried)} tried the worst had {worst}",
        "they are kept: `--decoder tuned` takes them; the rate below is of the split they were chosen on",
        "",
    ]


def decoder_words(found: "EvaluationMetrics") -> str:
    """greedy, or the search with its language model."""
    if found.beam is None:
        return found.decoder
    lm = "no language model" if found.lm is None else f"language model {found.lm[:12]}"
    return f"beam of {found.beam['width']}, {lm}" + (", hotwords" if found.hotwords else "")


def device_words(kind: str) -> str:
    """cpu, cuda ...; an emulation is called one."""
    return "an emulated IPU" if kind == "ipu-emulated" else kind


def rates(found: Any, units: str, rate: str, prefix: str) -> Sequence[Any]:
    """A row of the table: how many of these units went wrong, and how."""
    edits = [f"{getattr(found, prefix + name):,}" for name in ("substitutions", "deletions", "insertions")]
    bounds, count = getattr(found, f"{rate}_interval"), getattr(found, units)
    return [units, percent(getattr(found, rate)), interval(bounds), f"{count:,}", *edits]


def seen_lines(found: "EvaluationMetrics") -> List[str]:
    """Words of sentences that were in training and of others apart, where there are both."""
    parts = {"seen in training": found.seen, "not seen": found.unseen}
    if any(part is None or not part.utterances for part in parts.values()):
        return []
    rows = [
        (name, amounts.count(part.utterances, "utterance"), percent(part.wer), interval(part.wer_interval))
        for name, part in parts.items()
        if part is not None
    ]
    return ["", *table(rows, ("sentences", "", "error rate", "95 % interval"))]


def worst_lines(worst: Sequence["Scored"], unit: str = "word") -> List[str]:
    """Reference and hypothesis of each, word below word."""
    from asrctl.evaluation.metrics import aligned_lines

    width = max(shutil.get_terminal_size().columns - len("    ref  "), 40)
    lines: List[str] = ["", "most errors:"] if worst else []
    for row in worst:
        lines.append(f"  {row.id}: {amounts.count(row.errors, 'error')} in {amounts.count(row.words, unit)}")
        pairs = aligned_lines(row.reference, row.hypothesis, width=width)
        for above, below in pairs[:_FOLDS_SHOWN]:
            lines += [f"    ref  {above}", f"    hyp  {below}"]
        if len(pairs) > _FOLDS_SHOWN:
            lines.append("    ...")
    return lines


def percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def interval(bounds: Optional[Sequence[float]]) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.2f} - {100 * bounds[1]:.2f} %"
