"""What a run of LoRA learned, as a folder that PEFT loads beside its base, and the check that it does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from asrctl.errors import BadData, MissingDependency
from asrctl.export import hf
from asrctl.models import base_model, lora, weights
from asrctl.models.base_model import BaseModel
from asrctl.models.loading import Recognizer
from asrctl.runtime import compat
from asrctl.storage import files
from asrctl.storage.checksums import SUMS


def require() -> None:
    """Raises MissingDependency where PEFT can not be asked whether it loads the folder."""
    try:
        lora.require()
    except MissingDependency as error:
        raise MissingDependency(
            f"without peft nothing verifies such a folder ({error.message})",
            fix=f"{error.fix}, or add --merge for a whole model, which needs none",
        ) from None


def base_of(folder: Path) -> BaseModel:
    """What the run adds to. Raises BadData."""
    found = base_model.of(folder)
    if found is None:
        raise BadData(f"{folder} does not say which model it adds to", fix="train it again")
    return found


def write(source: Path, folder: Path, card: str) -> None:
    """Copy what was learned, with tokenizer and feature extractor. source: the run's `model/`."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name != SUMS:
            shutil.copyfile(str(path), str(folder / path.name))
    files.write_text(folder / "README.md", card)


def verify(recognizer: Recognizer, folder: Path, utterances: Sequence[Tuple[str, np.ndarray]]) -> Dict[str, Any]:
    """Load it by plain transformers and PEFT, and compare with the merged model. Raises BadData."""
    import transformers

    require()
    with compat.quiet_transformers():
        plain = hf.Parts(
            _loaded(folder, len(recognizer.vocabulary)).eval(),
            transformers.AutoFeatureExtractor.from_pretrained(str(folder)),
            transformers.AutoTokenizer.from_pretrained(str(folder)),
        )
        largest = max(hf.compare(recognizer, plain, name, pcm) for name, pcm in utterances)
    import peft

    return {**hf.verdict(largest, utterances), "peft": peft.__version__}


def _loaded(folder: Path, outputs: int) -> Any:
    import transformers
    from peft import PeftModel

    base = weights.base_folder(base_of(folder))
    # A head of another size is no fault: PEFT brings the one that was learned.
    model = transformers.AutoModelForCTC.from_pretrained(str(base), vocab_size=outputs, ignore_mismatched_sizes=True)
    return PeftModel.from_pretrained(model.float(), str(folder)).get_base_model()  # with what was learned in it
