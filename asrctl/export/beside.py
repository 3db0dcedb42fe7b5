"""One language of a model of many, laid beside the base that it was trained on, among the others there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from asrctl.errors import BadData, UsageError
from asrctl.export import hf
from asrctl.models import base_model, processor
from asrctl.models.loading import Recognizer
from asrctl.runtime import compat
from asrctl.storage import files

_VOCABULARIES = "vocab.json"


def check(recognizer: Recognizer, language: str, base: base_model.BaseModel, folder: Path, *, force: bool) -> None:
    """Raises UsageError, BadData where the language can not lie in `folder`."""
    if base_model.of(folder) is not None or base_model.digest_of(folder) != base.weights:
        raise UsageError(
            f"{folder} does not hold the base that {language} was trained on",
            fix=f"name a folder with the weights of {base.checkpoint}",
        )
    if base_model.adapter_file(folder, language) is not None and not force:
        raise UsageError(f"{folder} has an adapter of {language} already", fix="replace it by --force")
    known = _vocabularies(folder)
    other = next(iter(known))
    theirs, ours = processor.read_vocabulary(folder, language=other), recognizer.vocabulary
    for name in ("pad", "unk", "word_delimiter", "lower_case"):
        if getattr(theirs, name) != getattr(ours, name):
            raise BadData(
                f"the tokenizer of {folder} has {getattr(theirs, name)!r} as {name}, and {language} was trained with "
                f"{getattr(ours, name)!r}",
                fix="export it as a folder of its own (--output), or train it on a vocabulary with the same tokens",
            )


def _vocabularies(folder: Path) -> Dict[str, Any]:
    """{language: {token: id}}. Raises BadData."""
    fix = "name a folder of a model of many languages"
    path = folder / _VOCABULARIES
    found = files.read_json(path, fix=fix)
    if not isinstance(found, dict) or not found or not all(isinstance(value, dict) for value in found.values()):
        raise BadData(f"{path} holds no vocabularies by language", fix=fix)
    return found


def lay(source: Path, recognizer: Recognizer, language: str, folder: Path) -> Tuple[str, ...]:
    """Copy a run's adapter, and add its vocabulary to the others; the names of these files. source: its `model/`."""
    name = base_model.ADAPTERS[0].format(language)
    with files.atomic_path(folder / name) as temporary:
        shutil.copyfile(str(source / name), str(temporary))
    files.write_json(folder / _VOCABULARIES, {**_vocabularies(folder), language: recognizer.vocabulary.ids})
    return name, _VOCABULARIES


def verify(
    recognizer: Recognizer, language: str, folder: Path, utterances: Sequence[Tuple[str, np.ndarray]]
) -> Dict[str, Any]:
    """Choose the language in plain transformers, as its documentation has it, and compare. Raises BadData."""
    import transformers

    with compat.quiet_transformers():
        options = {"target_lang": language, "ignore_mismatched_sizes": True}
        plain = hf.Parts(
            transformers.AutoModelForCTC.from_pretrained(str(folder), **options).float().eval(),
            transformers.AutoFeatureExtractor.from_pretrained(str(folder)),
            transformers.AutoTokenizer.from_pretrained(str(folder)),
        )
        plain.tokenizer.set_target_lang(language)
        largest = max(hf.compare(recognizer, plain, name, pcm) for name, pcm in utterances)
    return hf.verdict(largest, utterances)
