"""The model card: what the model is, what it learned from, how well it does, and how to use it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from asrctl.data.collate import FeatureRules
from asrctl.data.summary import PreparedSummary
from asrctl.data.text import Vocabulary
from asrctl.evaluation.metrics import EvaluationMetrics, TextScore
from asrctl.export import usage
from asrctl.messages import amounts
from asrctl.models import architectures
from asrctl.storage.redact import redact
from asrctl.training.run_info import RunInfo

_MODELS = {
    "wav2vec2": "wav2vec 2.0",
    "hubert": "HuBERT",
    "wavlm": "WavLM",
    "data2vec-audio": "Data2VecAudio",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeech-SAT",
    "wav2vec2-conformer": "wav2vec 2.0 Conformer",
    "wav2vec2-bert": "wav2vec2-BERT",
    "sew": "SEW",
    "sew-d": "SEW-D",
    "parakeet_ctc": "Parakeet",
    "lasr_ctc": "LASR",
    "omniasr_ctc": "OmniASR",
    "granite_speech5_ctc": "Granite Speech 5",
    "mctct": "M-CTC-T",
}


_OTHER_TEXTS = (
    "WER is against the text by the rules below; raw WER against the text as it stands in the corpus, where case and "
    "punctuation count; normalized WER without case and punctuation on either side."
)
_OTHER_HEADS = " raw WER % | interval | normalized WER % | interval |"


@dataclass(frozen=True)
class CardFacts:
    """Everything a card says. run: None for what is no run. data: the data it was trained on, where that is known.

    evaluations: of this very model, each with what its data was called. language: of a model of many.
    adds_to: the base that is needed beside the folder.
    """

    name: str
    model_type: str
    parameters: int
    sample_rate: int
    vocabulary: int
    run: Optional[RunInfo] = None
    data_name: Optional[str] = None
    data: Optional[PreparedSummary] = None
    evaluations: Sequence[Tuple[Optional[str], EvaluationMetrics]] = ()
    language: Optional[str] = None
    adds_to: Optional[str] = None


def render(facts: CardFacts) -> str:
    """README.md with the front matter that the hub reads."""
    parts = [
        _front_matter(facts),
        f"# {facts.name}\n\n{_opening(facts)}",
        _emulation(facts),
        "## Use\n\n" + _use(facts),
        _languages(facts),
        "## Results\n\n" + _results(facts),
        _data(facts),
        _training(facts),
        "## License\n\nNone is given here: it follows from the data and from the model that training started from.",
    ]
    return redact("\n\n".join(part for part in parts if part) + "\n")


def render_onnx(rules: FeatureRules, vocabulary: Vocabulary) -> str:
    """README.md of an ONNX export: what lies there and a program that uses it."""
    files = (
        ("model.onnx", "`input_values`, `attention_mask` -> `logits`; any batch size and length"),
        ("vocab.json, special_tokens.json", "the labels that the logits stand for"),
        ("preprocessing.json", "sample rate, normalization, padding, frames for a number of samples"),
        ("parity.json", "how closely the graph follows PyTorch on real utterances"),
        ("SHA256SUMS", "`sha256sum -c SHA256SUMS` checks all of them"),
    )
    parts = [
        f"# Speech recognizer (ONNX)\n\nHears {rules.sample_rate} Hz mono and writes characters: a CTC model with "
        f"{len(vocabulary)} outputs. Made with asrctl.",
        f"## Use\n\n```python\n{usage.onnx_program(rules, vocabulary)}```",
        "`pip install onnxruntime numpy soundfile soxr` installs what it needs. In a batch, fill shorter recordings up "
        "with zeros after normalizing, and set their `attention_mask` to 0 there: padding changes no transcript.",
        "## Files\n\n| file | what it holds |\n| --- | --- |\n" + "\n".join(f"| {a} | {b} |" for a, b in files),
    ]
    return redact("\n\n".join(parts) + "\n")


def _front_matter(facts: CardFacts) -> str:
    # JSON values are YAML values, and can not be broken by what stands in a name.
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: automatic-speech-recognition",
        "tags: [automatic-speech-recognition, ctc, asrctl]",
    ]
    base = _hub_name(facts.run.base if facts.run is not None else None)
    if base is not None:
        lines.append(f"base_model: {json.dumps(base)}")
    if facts.evaluations:
        lines.append(f"model-index: {json.dumps([_index(facts)], ensure_ascii=False)}")
    return "\n".join([*lines, "---"])


def _index(facts: CardFacts) -> Dict[str, Any]:
    task = {"type": "automatic-speech-recognition", "name": "Speech recognition"}
    results = [
        {
            "task": task,
            "dataset": {"name": data or "prepared data", "type": data or "prepared data", "split": found.split},
            "metrics": [
                {"type": found.rate_name.lower(), "value": round(100 * found.wer, 2), "name": f"{found.rate_name} (%)"},
                {"type": "cer", "value": round(100 * found.cer, 2), "name": "CER (%)"},
            ],
        }
        for data, found in facts.evaluations
    ]
    return {"name": facts.name, "results": results}


def _hub_name(base: Any) -> Optional[str]:
    """A name on the hub, or None for a folder, an earlier run or no base at all."""
    plain = isinstance(base, str) and base.count("/") == 1 and not base.startswith((".", "/", "~"))
    return base if plain and " " not in base else None


def _opening(facts: CardFacts) -> str:
    kind = _MODELS.get(facts.model_type, facts.model_type)
    start = ""
    if facts.run is not None:
        base = facts.run.base
        start = "It was trained from scratch."
        start = f"It was fine-tuned from {_hub_name(base) or _without_folders(base)}." if base else start
    return (
        f"A speech recognizer: {kind} with a CTC head of {facts.vocabulary} outputs, "
        f"{facts.parameters / 1e6:.1f} million parameters. {start} It hears {facts.sample_rate} Hz mono and writes "
        f"{_targets(facts)}. Made with asrctl."
    ).replace("  ", " ")


def _targets(facts: CardFacts) -> str:
    rates = [facts.run.rate_name] if facts.run is not None else [found.rate_name for _, found in facts.evaluations]
    return "phonemes (IPA of eSpeak NG, without stress)" if "PER" in rates else "characters"


def _emulation(facts: CardFacts) -> str:
    if facts.run is None or not facts.run.emulated:
        return ""
    return (
        "**Trained on an emulated IPU**: optimum-graphcore's training program, executed in plain torch on a CPU. "
        "No IPU took part, and nothing here says how fast or how exactly one would have trained it."
    )


def _use(facts: CardFacts) -> str:
    kind = architectures.find(facts.model_type)
    if facts.adds_to is not None:
        generates = kind is not None and kind.generates
        program = usage.peft_program(
            facts.sample_rate, generates=generates, base=facts.adds_to, outputs=facts.vocabulary
        )
        return (
            f"```python\n{program}```\n\n`pip install transformers torch peft soundfile soxr` installs what it needs. "
            "The folder holds what was learned (LoRA and the head) and no more; `merge_and_unload` makes one model of "
            "it and its base."
        )
    if kind is not None and not kind.pipeline:
        program = usage.parts_program(facts.sample_rate, generates=kind.generates)
        return f"```python\n{program}```\n\n`pip install transformers torch soundfile soxr` installs what it needs."
    return (
        f"```python\n{usage.transformers_program(facts.sample_rate)}```\n\n"
        "`pip install transformers torch soundfile soxr` installs what it needs. Give it one recording at a time: "
        "in a batch (`batch_size`) the pipeline also writes what the model makes of the silence that shorter "
        "recordings are filled up with."
    )


def _languages(facts: CardFacts) -> str:
    if facts.language is None:
        return ""
    language = facts.language
    base = "the base" if facts.run is None or facts.run.base is None else facts.run.base
    return (
        f"`adapter.{language}.safetensors` is all that was learned. It may lie with those of others in a folder "
        f"of {base}, whose `vocab.json` then holds this one's vocabulary as well; "
        f'`processor.tokenizer.set_target_lang("{language}")` and `model.load_adapter("{language}")` choose it.'
    )


def _results(facts: CardFacts) -> str:
    if not facts.evaluations:
        best = None if facts.run is None else facts.run.best
        if best is None or best.wer is None:
            return "Not evaluated."
        rate = facts.run.rate_name if facts.run is not None else "WER"
        return f"Not evaluated by itself. The best {rate} during training was {100 * best.wer:.2f} %."
    name = facts.evaluations[0][1].rate_name
    units = "phonemes" if name == "PER" else "words"
    scored = any(_differs(found) for _, found in facts.evaluations)
    lines = [
        "Greedy decoding, no language model. The intervals hold 95 % (bootstrap over utterances)."
        + (f" {_OTHER_TEXTS}" if scored else "")
        + "\n",
        f"| data | split | utterances | {units} | {name} % | interval |"
        f"{_OTHER_HEADS if scored else ''} CER % | device | precision |",
        f"| --- | --- | ---: | ---: | ---: | --- |{' ---: | --- | ---: | --- |' if scored else ''} ---: | --- | --- |",
    ]
    for data, found in facts.evaluations:
        others = [found.raw, found.normalized] if scored else []
        more = "".join(f" {_rate(score)} |" for score in others)
        lines.append(
            f"| {data or '-'} | {found.split} | {found.utterances} | {found.words} | {_rate(found)} |{more} "
            f"{100 * found.cer:.2f} | {found.device} | {found.precision} |"
        )
    return "\n".join(lines)


def _differs(found: EvaluationMetrics) -> bool:
    """Whether another form of the texts has another WER."""
    return any(score is not None and score.wer != found.wer for score in (found.raw, found.normalized))


def _rate(score: Union[EvaluationMetrics, TextScore, None]) -> str:
    """Two cells: a WER in % and its interval."""
    if score is None:
        return "- | -"
    bounds = score.wer_interval
    interval = f"{100 * bounds[0]:.2f} - {100 * bounds[1]:.2f}" if bounds else "-"
    return f"{100 * score.wer:.2f} | {interval}"


def _data(facts: CardFacts) -> str:
    if facts.data is None or not facts.data.splits:
        return ""
    rules = facts.data.text
    lines = [
        f"## Data\n\n{facts.data_name}, corpus `{facts.data.corpus}`. "
        f"Transcripts: case `{rules.get('case')}`, removed characters `{rules.get('remove') or 'none'}`"
        f"{_more_rules(rules)}.\n",
        "| split | utterances | hours |",
        "| --- | ---: | ---: |",
    ]
    for name, split in facts.data.splits.items():
        lines.append(f"| {name} | {split.utterances} | {split.seconds / 3600:.2f} |")
    return "\n".join(lines)


def _more_rules(rules: Mapping[str, Any]) -> str:
    voice = rules.get("phonemes")
    language, table = rules.get("language"), rules.get("replace") or {}
    return (
        (f", phonemes of the voice `{voice}`" if voice else "")
        + (f", spelling of `{language}`" if language else "")
        + (
            f", {amounts.count(len(table), 'replacement')} ({'; '.join(_replacement(*pair) for pair in table.items())})"
            if table
            else ""
        )
    )


def _replacement(text: str, value: str) -> str:
    return f"{json.dumps(text, ensure_ascii=False)} by {json.dumps(value, ensure_ascii=False)}"


def _training(facts: CardFacts) -> str:
    run = facts.run
    if run is None:
        return ""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lines: List[str] = [
        f"- preset: `{run.preset}`",
        f"- steps: {run.steps}",
        *([] if run.averaged is None else [f"- weights: their moving average, decay {run.averaged:g}"]),
        f"- device: {run.device}, precision {run.precision}",
        f"- versions: {versions}",
    ]
    command = " ".join(_without_folders(word) for word in run.command)
    shown = f"\n\n```\n{command}\n```" if command else ""
    return "## Training\n\n" + "\n".join(lines) + shown


def _without_folders(word: str) -> str:
    """A path of the machine that trained it means nothing elsewhere, and may say more than its owner wants."""
    head, equals, path = word.rpartition("=")
    if path.startswith(("/", "~")):
        return head + equals + PurePosixPath(path).name
    return word
