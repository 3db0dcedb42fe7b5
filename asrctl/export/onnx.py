"""Write ONNX with dynamic batch and time, and verify that onnxruntime computes what PyTorch computes.

The graph takes `input_values` (batch, time) float32 and `attention_mask` (batch, time) int64, and gives `logits`
(batch, frames, vocabulary) float32. Padding is left out of the group norm and of the attention, so that an utterance
gets the same logits in any batch.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch

from asrctl.data import collate
from asrctl.errors import BadData, MissingDependency, UsageError
from asrctl.messages import reasons
from asrctl.messages.command_lines import pip_install
from asrctl.models import architectures, ctc
from asrctl.models.loading import Recognizer
from asrctl.runtime import memory
from asrctl.storage import files

INPUTS = ("input_values", "attention_mask")
# fp32 kernels of two runtimes differ by 1e-6 to 1e-4 of the logits' scale; a wrong graph by far more.
_LARGEST_RELATIVE = 1e-3
# A protobuf file ends at 2 GiB; weights beyond that go into a file beside it.
_ONE_FILE_BYTES = 1_900_000_000
_TRACE_SAMPLES = (16000, 12000)
_NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class Parity:
    """How far two implementations agree on real speech.

    largest_logit_difference: over all real frames. frames: compared. near_ties: frames whose best label differs, each
    with its two best logits closer than twice that difference.
    """

    utterances: Tuple[str, ...]
    batches: Tuple[int, ...]
    frames: int
    near_ties: int
    largest_logit_difference: float

    @property
    def agreement(self) -> float:
        return 1.0 - self.near_ties / max(self.frames, 1)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "largest_logit_difference": float(f"{self.largest_logit_difference:.3g}"),
            "agreement": self.agreement,
            "frames": self.frames,
            "near_ties": self.near_ties,
            "batches": list(self.batches),
            "utterances": list(self.utterances),
        }


class _Graph(torch.nn.Module):
    """What is exported: the model with padding left out, always, since a graph can not look whether there is any."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        with ctc.padding_left_out(self.model, attention_mask.sum(-1)):
            return self.model(input_values=input_values, attention_mask=attention_mask).logits


def require() -> None:
    """Raises MissingDependency where the extra is not installed."""
    for name in packages():
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDependency(
                f"ONNX export needs the package {name} ({reasons.reason(error)})", fix=pip_install("asrctl[onnx]")
            ) from None


def require_kind(kind: str) -> None:
    """Raises UsageError for a model that no graph is made of, with the reason."""
    found = architectures.find(kind)
    if found is None or (found.hears_samples and found.together):
        return
    if not found.hears_samples:
        reason = f"its input is made by the {found.extractor} of transformers, which is not part of a graph"
    else:
        reason = "its own passes mix the padding of a batch into utterances"
    raise UsageError(f"a {kind} model has no export to ONNX: {reason}", fix="use `--format hf`")


def packages() -> List[str]:
    """What an export needs beside torch. onnxscript has no release for Python 3.8, where no torch needs it."""
    return ["onnx", "onnxruntime"] + (["onnxscript"] if _captures_graphs() else [])


def _captures_graphs() -> bool:
    """Whether torch's graph-capturing exporter is the usual one (torch 2.9 and later); before, TorchScript traces."""
    parameter = inspect.signature(torch.onnx.export).parameters.get("dynamo")
    return parameter is not None and bool(parameter.default)


def write_graph(recognizer: Recognizer, path: Path, *, traced: Optional[bool] = None) -> None:
    """Write `path`, and `path`.data beside it for weights of over 1.9 GB.

    traced: by TorchScript's exporter; by default only where torch has nothing newer. Raises BadData where the model
    can not be exported.
    """
    require()
    traced = not _captures_graphs() if traced is None else traced
    graph = _Graph(recognizer.model).eval()
    try:
        with _quiet(), torch.no_grad():
            (_export_traced if traced else _export_captured)(graph, _example(), path)
    except OSError:
        raise
    except Exception as error:  # the exporters raise kinds of their own, and many
        memory.raise_shortage(error)
        raise BadData(
            f"this model can not be exported to ONNX ({reasons.first_line(error)})",
            fix="use `--format hf`, or other versions of torch and onnxscript",
        ) from None
    _tidy(path)


def _example() -> Tuple[torch.Tensor, torch.Tensor]:
    values = torch.zeros(len(_TRACE_SAMPLES), max(_TRACE_SAMPLES))
    mask = torch.zeros(values.shape, dtype=torch.int64)
    for row, length in enumerate(_TRACE_SAMPLES):
        values[row, :length] = torch.sin(torch.arange(length) * (0.1 + 0.05 * row))
        mask[row, :length] = 1
    return values, mask


def _export_captured(graph: torch.nn.Module, example: Tuple[torch.Tensor, ...], path: Path) -> None:
    weights = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    axes = {0: "batch", 1: "time"}
    torch.onnx.export(
        graph,
        example,
        str(path),
        input_names=list(INPUTS),
        output_names=["logits"],
        opset_version=18,
        dynamo=True,
        dynamic_shapes=dict.fromkeys(INPUTS, axes),
        external_data=weights > _ONE_FILE_BYTES,
        verbose=False,
    )


def _export_traced(graph: torch.nn.Module, example: Tuple[torch.Tensor, ...], path: Path) -> None:
    """For older torch. It can not do WavLM: torch 2.0 refuses it, the comparison with PyTorch finds it out later.

    Opset 16, as at 17 torch 2.0 writes a layer norm without weights (data2vec's) that no runtime loads.
    """
    captures = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    axes = {name: {0: "batch", 1: "time"} for name in INPUTS}
    torch.onnx.export(
        graph,
        example,
        str(path),
        input_names=list(INPUTS),
        output_names=["logits"],
        opset_version=16,
        dynamic_axes={**axes, "logits": {0: "batch", 1: "frames"}},
        **captures,
    )


def _tidy(path: Path) -> None:
    """Name the output's axes; drop the exporter's notes, which hold paths of this machine."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for node in list(model.graph.node) + [node for function in model.functions for node in function.node]:
        node.doc_string = ""
        _clear(node)
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]:
        value.doc_string = ""
        _clear(value)
    del model.graph.value_info[:]
    for item in (model, model.graph):
        item.doc_string = ""
        _clear(item)
    dimensions = model.graph.output[0].type.tensor_type.shape.dim
    dimensions[0].dim_param, dimensions[1].dim_param = "batch", "frames"
    onnx.save(model, str(path))


def _clear(item: Any) -> None:
    if hasattr(item, "metadata_props"):  # onnx 1.16 and later
        del item.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk on stdout, stderr, through warnings and through loggers; what matters is raised."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def session(path: Path) -> Any:
    """An onnxruntime session on the CPU. Raises BadData where the graph can not be loaded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base but this
        memory.raise_shortage(error)
        raise _broken(reasons.first_line(error)) from None


def run(runtime: Any, batch: Dict[str, torch.Tensor]) -> np.ndarray:
    """A collated batch -> logits (batch, frames, vocabulary). Raises BadData where the graph can not be run."""
    try:
        return runtime.run(["logits"], {name: batch[name].numpy() for name in INPUTS})[0]
    except Exception as error:  # onnxruntime's errors share no base but this
        memory.raise_shortage(error)
        raise _broken(reasons.first_line(error)) from None


def compare(recognizer: Recognizer, path: Path, groups: Sequence[Sequence[Tuple[str, np.ndarray]]]) -> Parity:
    """Compare the graph with PyTorch. groups: batches of (utterance id, pcm (time,) int16). Raises BadData."""
    runtime = session(path)
    real: List[Tuple[np.ndarray, np.ndarray]] = []
    names: List[str] = []
    for group in groups:
        batch = collate.collate([pcm for _, pcm in group], recognizer.features)
        with torch.no_grad():
            logits, frames = ctc.forward(recognizer.model, batch["input_values"], batch["attention_mask"], exact=True)
        ours, theirs = logits.numpy(), run(runtime, batch)
        for row, count in enumerate(frames.tolist()):
            real.append((ours[row, :count], theirs[row, :count]))
        names.extend(name for name, _ in group)
    largest = max(_difference(ours, theirs) for ours, theirs in real)
    frames_compared = sum(len(ours) for ours, _ in real)
    ties = sum(near_ties(ours, theirs, largest) for ours, theirs in real)
    _check_size(largest, max(float(np.abs(ours).max()) for ours, _ in real))
    return Parity(tuple(dict.fromkeys(names)), tuple(map(len, groups)), frames_compared, ties, largest)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or not np.isfinite(theirs).all():
        raise _broken(f"its output is {theirs.shape} where PyTorch gives {ours.shape}, or is not finite")
    return float(np.abs(ours - theirs).max())


def near_ties(ours: np.ndarray, theirs: np.ndarray, largest: float) -> int:
    """Frames with another best label. Raises BadData where that is no matter of rounding."""
    unequal = np.flatnonzero(ours.argmax(-1) != theirs.argmax(-1))
    if not len(unequal):
        return 0
    best = np.sort(ours[unequal], axis=-1)
    if (best[:, -1] - best[:, -2] >= 2 * largest).any():
        raise _broken("its best labels differ by more than rounding")
    return len(unequal)


def _check_size(largest: float, scale: float) -> None:
    # Two logits can only change places if they are closer than twice the difference, so the difference itself must
    # be small, or the rule on near ties would forgive everything.
    if largest > _LARGEST_RELATIVE * max(scale, 1.0):
        raise _broken(f"its logits differ by {largest:.3g} (they reach {scale:.3g})")


def _broken(what: str) -> BadData:
    return BadData(
        f"the ONNX model does not compute what PyTorch computes: {what}",
        fix="use `--format hf`, or other versions of torch, onnxscript and onnxruntime",
    )


def write_description(recognizer: Recognizer, folder: Path) -> None:
    """vocab.json, special_tokens.json and preprocessing.json: all that a program needs to feed and read the graph."""
    vocabulary, rules, config = recognizer.vocabulary, recognizer.features, recognizer.model.config
    vocabulary.save(folder)
    files.write_json(
        folder / "preprocessing.json",
        {
            "sample_rate": rules.sample_rate,
            "channels": 1,
            "int16_scale": 1 / 32768,
            "normalise": "zero mean, unit variance per utterance" if rules.normalize else None,
            "variance_floor": collate.VARIANCE_FLOOR if rules.normalize else None,
            "padding_value": 0.0,
            "inputs": {
                "input_values": "(batch, time) float32, padded with zeros after normalizing",
                "attention_mask": "(batch, time) int64, 1 on samples, 0 on padding",
            },
            "outputs": {"logits": "(batch, frames, vocabulary) float32"},
            "samples_per_frame": int(np.prod(config.conv_stride)),
            "kernels": list(config.conv_kernel),
            "strides": list(config.conv_stride),
            "vocabulary": len(vocabulary),
            "blank": vocabulary.blank_id,
            "word_delimiter": vocabulary.delimiter_id,
            **({"lower_case": True} if vocabulary.lower_case else {}),
            "decoding": "greedy CTC: best label of each real frame, repeats collapsed, blanks dropped",
        },
    )
