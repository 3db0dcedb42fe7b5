"""Write a Hugging Face folder, and verify that plain transformers gives the same transcripts with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from asrctl.data import collate
from asrctl.errors import BadData, MissingDependency
from asrctl.evaluation import decoding
from asrctl.models import architectures, ctc, loading, processor
from asrctl.models.loading import Recognizer
from asrctl.runtime import compat
from asrctl.storage import files

# Without padding both run the same kernels on the same numbers; what is left is attention with and without a mask.
_LARGEST_RELATIVE = 1e-4


def write(recognizer: Recognizer, folder: Path, card: str) -> None:
    """Weights in fp32, configuration, processor, and the card as README.md."""
    loading.save_recognizer(recognizer, folder)
    files.write_text(folder / "README.md", card)


def verify(recognizer: Recognizer, folder: Path, utterances: Sequence[Tuple[str, np.ndarray]]) -> Dict[str, Any]:
    """Load `folder` with plain transformers and compare. utterances: (id, pcm (time,) int16).

    Raises BadData where a transcript differs, logits differ by more than rounding, or the tokenizer knows an id that
    the model has no output for.
    """
    import transformers

    if recognizer.vocabulary.subwords is not None and not hasattr(transformers, processor.SUBWORD_CLASS):
        raise MissingDependency(
            f"transformers {transformers.__version__} can not decode CTC in pieces of words, so nothing verifies the "
            "export",
            fix="install transformers 4.57 or newer, or use --format onnx",
        )
    with compat.quiet_transformers():
        plain = _plain(recognizer, folder)
        if recognizer.language is not None:  # as somebody does who lays several languages beside one base
            plain.tokenizer.set_target_lang(recognizer.language)
            plain.model.load_adapter(recognizer.language)
        outputs = len(recognizer.vocabulary)
        if len(plain.tokenizer) != outputs:
            raise _broken(f"its tokenizer knows {len(plain.tokenizer)} tokens, the model has {outputs} outputs")
        largest = max(compare(recognizer, plain, name, pcm) for name, pcm in utterances)
    return verdict(largest, utterances)


def verdict(largest: float, utterances: Sequence[Tuple[str, np.ndarray]]) -> Dict[str, Any]:
    """What a check found that did not fail. largest: difference of a logit."""
    import transformers

    return {
        "transcripts_equal": len(utterances),
        "largest_logit_difference": float(f"{largest:.3g}"),
        "utterances": [name for name, _ in utterances],
        "transformers": transformers.__version__,
    }


def _plain(recognizer: Recognizer, folder: Path) -> Any:
    """A model of plain transformers with `model`, `feature_extractor` and `tokenizer`; called, it hears."""
    import transformers

    kind = architectures.find(recognizer.model.config.model_type)
    if kind is not None and kind.pipeline:
        return transformers.pipeline("automatic-speech-recognition", model=str(folder), device=-1)
    return Parts(
        transformers.AutoModelForCTC.from_pretrained(str(folder)).eval(),
        transformers.AutoFeatureExtractor.from_pretrained(str(folder)),
        transformers.AutoTokenizer.from_pretrained(str(folder)),
    )


@dataclass(frozen=True)
class Parts:
    """What the README's program does for models that transformers' pipeline is not made for."""

    model: Any
    feature_extractor: Any
    tokenizer: Any

    def __call__(self, inputs: Dict[str, Any]) -> Dict[str, str]:
        import torch

        made = self.feature_extractor(inputs["raw"], sampling_rate=inputs["sampling_rate"], return_tensors="pt")
        with torch.inference_mode():
            labels = self.model.generate(**made) if _generates(self.model) else self.model(**made).logits.argmax(-1)
        return {"text": self.tokenizer.decode(labels[0])}


def _generates(model: Any) -> bool:
    """Whether a model has a `generate` of its own, which leaves out what is behind the end of the mask."""
    return "generate" in vars(type(model))


def compare(recognizer: Recognizer, pipe: Any, name: str, pcm: np.ndarray) -> float:
    """The largest difference of a logit. Raises BadData."""
    rate, samples = recognizer.features.sample_rate, collate.to_float(pcm)
    ours, text = _ours(recognizer, pcm)
    theirs = _theirs(pipe, samples, rate)
    if recognizer.features.front_end is not None:
        theirs = theirs[: len(ours)]  # what is behind is of no utterance
    if theirs.shape != ours.shape:
        raise _broken(f"its logits are {theirs.shape} instead of {ours.shape}")
    largest = float(np.abs(theirs - ours).max())
    # Not above, rather than below or equal: a NaN must not pass.
    if not largest <= _LARGEST_RELATIVE * max(1.0, float(np.abs(ours).max())):
        raise _broken(f"its logits for {name} differ by {largest:.3g}")
    heard = pipe({"raw": samples, "sampling_rate": rate})["text"]
    # Of phonemes, transformers leaves the borders of words out.
    if heard != (" ".join(text.split()) if recognizer.vocabulary.phones else text):
        raise _broken(f"it hears {heard!r} where asrctl hears {text!r} ({name})")
    return largest


def _ours(recognizer: Recognizer, pcm: np.ndarray) -> Tuple[np.ndarray, str]:
    import torch

    batch = collate.collate([pcm], recognizer.features)
    with torch.inference_mode():
        logits, frames = ctc.forward(recognizer.model, exact=True, **batch)
    ids: List[Any] = decoding.greedy_ids(logits, frames)
    return logits[0].numpy(), recognizer.vocabulary.decode(ids[0].tolist())


def _theirs(pipe: Any, samples: np.ndarray, rate: int) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return pipe.model(**pipe.feature_extractor(samples, sampling_rate=rate, return_tensors="pt")).logits[0].numpy()


def _broken(what: str) -> BadData:
    return BadData(
        f"plain transformers does not read this export as asrctl does: {what}",
        fix="please report it, with the output of `asrctl doctor`",
    )
