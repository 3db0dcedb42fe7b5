"""The program that each export's README shows: it runs as it stands, for recordings of any rate and any channels.

It needs only what asrctl installs (soundfile, soxr, transformers), and onnxruntime for an ONNX graph.
"""

from __future__ import annotations

import json

from asrctl.data.collate import VARIANCE_FLOOR, FeatureRules
from asrctl.data.text import Vocabulary

FOLDER, RECORDING = "PATH-OF-THIS-FOLDER", "speech.wav"


def _read(rate: int) -> str:
    return (
        f'samples, rate = soundfile.read("{RECORDING}", dtype="float32", always_2d=True)\n'
        f"samples = soxr.resample(samples.mean(axis=1), rate, {rate})  # mono, {rate} Hz\n"
    )


def transformers_program(rate: int) -> str:
    """Python that transcribes one recording with a Hugging Face folder. rate: the model's, in Hz."""
    return (
        "import soundfile\n"
        "import soxr\n"
        "from transformers import pipeline\n\n"
        f'recognize = pipeline("automatic-speech-recognition", "{FOLDER}")\n'
        f"{_read(rate)}"
        f'print(recognize({{"raw": samples, "sampling_rate": {rate}}})["text"])\n'
    )


def peft_program(rate: int, *, generates: bool, base: str, outputs: int) -> str:
    """The same for a folder that only adds to a base. base: its name. outputs: of the head that was learned."""
    plain = parts_program(rate, generates=generates)
    loads = "model = AutoModelForCTC.from_pretrained(folder).eval()\n"
    beside = (
        f"base = AutoModelForCTC.from_pretrained({json.dumps(base)}, vocab_size={outputs}, "
        "ignore_mismatched_sizes=True)\n"
        "model = PeftModel.from_pretrained(base, folder).eval()\n"
    )
    return plain.replace(loads, beside).replace("import torch\n", "import torch\nfrom peft import PeftModel\n")


def parts_program(rate: int, *, generates: bool) -> str:
    """The same for a model that transformers' pipeline is not made for. generates: whether it has `generate`."""
    labels = "model.generate(**inputs)" if generates else "model(**inputs).logits.argmax(-1)"
    return (
        "import soundfile\n"
        "import soxr\n"
        "import torch\n"
        "from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer\n\n"
        f'folder = "{FOLDER}"\n'
        "extract = AutoFeatureExtractor.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModelForCTC.from_pretrained(folder).eval()\n"
        f"{_read(rate)}"
        f'inputs = extract(samples, sampling_rate={rate}, return_tensors="pt")\n'
        "with torch.inference_mode():\n"
        f"    labels = {labels}\n"
        "print(tokenizer.decode(labels[0]))\n"
    )


def onnx_program(rules: FeatureRules, vocabulary: Vocabulary) -> str:
    """Python that transcribes one recording with `model.onnx`, greedily."""
    normalize = f"samples = (samples - samples.mean()) / np.sqrt(samples.var() + {VARIANCE_FLOOR})\n"
    delimiter = json.dumps(vocabulary.word_delimiter, ensure_ascii=False)
    spaces = "" if vocabulary.word_delimiter is None else f'.replace({delimiter}, " ")'
    tokens = "    tokens = {index: token for token, index in json.load(file).items()}\n"
    shown = f'print("{" " if vocabulary.phones else ""}".join(text){spaces}.strip())\n'
    if vocabulary.subwords is not None:
        shown = (
            "from tokenizers import Tokenizer\n\n"
            "ids = {token: index for index, token in tokens.items()}\n"
            'tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")\n'
            "print(tokenizer.decode([ids[token] for token in text], skip_special_tokens=False).strip())\n"
        )
    return (
        "import json\n\n"
        "import numpy as np\n"
        "import onnxruntime\n"
        "import soundfile\n"
        "import soxr\n\n"
        f'folder = "{FOLDER}"\n'
        'with open(f"{folder}/vocab.json", encoding="utf-8") as file:\n'
        f"{tokens}"
        'session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])\n\n'
        f"{_read(rules.sample_rate)}"
        f"{normalize if rules.normalize else ''}"
        'inputs = {"input_values": samples[None], "attention_mask": np.ones((1, len(samples)), dtype=np.int64)}\n'
        'labels = session.run(["logits"], inputs)[0][0].argmax(-1).tolist()\n'
        f"blank, previous, text = {vocabulary.blank_id}, None, []\n"
        "for label in labels:\n"
        "    if label not in (previous, blank):\n"
        "        text.append(tokens[label])\n"
        "    previous = label\n"
        f"{shown}"
    )
