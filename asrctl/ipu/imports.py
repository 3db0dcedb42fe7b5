"""ipu_config.json, as optimum-graphcore and the Graphcore models on the hub have it, -> the text of a preset.

Key spellings of every release of optimum-graphcore are known here, and what each means to release 0.7.1: values for
several pod sizes (`{"pod4": 1, "pod16": 4, "default": 1}`), `training_...` names, keys that are gone. What can not be
kept is refused with its name, all of it at once.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from asrctl.errors import MissingArtifact, PresetError
from asrctl.recipe_checks import pipeline_minimum

FILE_NAME = "ipu_config.json"
MAX_BYTES = 1_000_000
MAX_NUMBER = 1_000_000
_FIX = "correct the keys named above in the file, and import it again"

# Layers that layers_per_ipu adds up to -> the preset that is extended: 7 convolutions, the positional embedding, 12 or
# 24 transformer layers, the head. The first configurations counted the transformer layers only.
_BASES = {21: "base-4ipu", 33: "large-8ipu", 12: "base-4ipu", 24: "large-8ipu"}
_OLD_COUNTS = (12, 24)
_BEFORE_ENCODER, _AFTER_ENCODER = 8, 1

_PODS = ("pod4", "pod8", "pod16", "pod32", "pod64")
# What 0.7.1 takes where a file is silent; a preset that extends another must say it. (Not output_mode: it only decides
# which losses are logged, and asrctl has a default of its own.)
_DEFAULTS: Dict[str, Any] = {
    "replication_factor": 1,
    "inference_replication_factor": 1,
    "gradient_accumulation_steps": 1,
    "device_iterations": 1,
    "inference_device_iterations": 1,
    "optimizer_state_offchip": False,
    "replicated_tensor_sharding": False,
    "recompute_checkpoint_every_layer": False,
    "enable_half_partials": True,
    "auto_loss_scaling": False,
    "output_mode": None,
    "matmul_proportion": 0.2,
    "seed": None,
}
_NAMES = {"replication_factor": "replication", "inference_replication_factor": "inference_replication"}
# Keys without effect on a CTC model under 0.7.1 -> what to say of them; nothing where there is nothing to say.
_WITHOUT_EFFECT = {
    "executable_cache_dir": "",
    "embedding_serialization_factor": "",
    "inference_embedding_serialization_factor": "",
    "projection_serialization_factor": "",
    "inference_projection_serialization_factor": "",
    "optimum_version": "",
    "optimum_graphcore_version": "",
    "transformers_version": "",
    "poptorch_version": "",
    "model_type": "",
    "_name_or_path": "",
    "sharded_execution_for_inference": "evaluation is always sharded now",
    "enable_half_first_order_momentum": "Adam's first moment is fp16 wherever the weights are",
    "decompose_grad_sum": "it is gone from optimum-graphcore",
}
# Keys that are refused unless they have one of these values -> the fix.
_REFUSED: Dict[str, Tuple[Tuple[Any, ...], str]] = {
    "use_popdist": ((None, False), "remove it, and set ipu.hosts to the number of hosts"),
    "execute_encoder_on_cpu_for_generation": ((None, False), "remove it: a CTC model generates nothing"),
    "explicit_ir_inference": ((None, False), "remove it: it does not work in optimum-graphcore 0.7.1"),
    "parallelize_kwargs": ((None, {}), "remove it: CTC models take none"),
    "inference_parallelize_kwargs": ((None, {}), "remove it: CTC models take none"),
    "serialized_embedding_splits_per_ipu": ((None,), "remove it: a CTC model has no embedding"),
    "inference_serialized_embedding_splits_per_ipu": ((None,), "remove it: a CTC model has no embedding"),
    "serialized_projection_splits_per_ipu": ((None,), "remove it: the head of a CTC model is not split"),
    "inference_serialized_projection_splits_per_ipu": ((None,), "remove it: the head of a CTC model is not split"),
}
_LIKE_TRAINING = ("layers_per_ipu", "ipus_per_replica", "matmul_proportion")


@dataclass(frozen=True)
class Imported:
    """A preset's values, and what is worth knowing about the way from the file to them."""

    preset: Dict[str, Any]
    notes: Tuple[str, ...]


def read(path: Path) -> Dict[str, Any]:
    """The values of an ipu_config.json. Raises PresetError (not such a file), MissingArtifact."""
    if not path.is_file():
        raise MissingArtifact(f"there is no file {path}", fix="give an ipu_config.json, or the name of a hub model")
    if path.stat().st_size > MAX_BYTES:
        raise PresetError(f"{path} is larger than an {FILE_NAME} can be", fix="check that this is the right file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PresetError(f"{path} is not valid JSON ({reason})", fix="correct the file at that place") from None
    if not isinstance(values, dict):
        raise PresetError(f"{path} holds no keys, so it is no {FILE_NAME}", fix="check that this is the right file")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def translate(values: Mapping[str, Any], name: str) -> Imported:
    """The preset `name`. Raises PresetError naming every key that can not be kept."""
    return _Translation(values, name).result()


class _Translation:
    """One file on its way; collects problems and notes."""

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.name = name
        self.problems: List[str] = []
        self.notes: List[str] = []
        self.values = {key: self._one_pod(key, value) for key, value in self._today(values).items()}

    def result(self) -> Imported:
        self._check_names()
        layers = self._numbers("layers_per_ipu", low=-1)
        ipus = self._get("ipus_per_replica", _whole(1), default=len(layers) or 1)
        ipu: Dict[str, Any] = {"layers_per_ipu": layers, "ipus_per_replica": ipus, "micro_batch": 1}
        for key in ("replication_factor", "inference_replication_factor", "device_iterations"):
            ipu[_NAMES.get(key, key)] = self._get(key, _whole(1))
        ipu["inference_device_iterations"] = self._get("inference_device_iterations", _whole(1))
        for key, default in _DEFAULTS.items():
            if isinstance(default, bool):
                ipu[key] = self._get(key, _truth)
        if self.values.get("output_mode") is not None:
            ipu["output_mode"] = self._get("output_mode", _output_mode)
        ipu["matmul_proportion"] = self._proportions(ipus)
        accumulation = self._get("gradient_accumulation_steps", _whole(1))
        seed = self._get("seed", _whole(0, optional=True))
        if not self.problems:
            self._fit(ipu, accumulation)
        if self.problems:
            count = "a key" if len(self.problems) == 1 else f"{len(self.problems)} keys"
            raise PresetError(f"{self.name}: {count} can not be kept", fix=_FIX, problems=self.problems)
        return Imported(self._preset(ipu, accumulation, seed), tuple(self.notes))

    # -- keys -------------------------------------------------------------------------------------------------------

    def _today(self, values: Mapping[str, Any]) -> Dict[str, Any]:
        """Today's spelling of every key."""
        found: Dict[str, Any] = {}
        for key, value in values.items():
            plain = key[len("training_") :] if key.startswith("training_") else key
            if plain in found and found[plain] != value:
                self.problems.append(f"{key}: stands there beside {plain} with another value; keep one of them")
            found[plain] = value
        return found

    def _one_pod(self, key: str, value: Any) -> Any:
        """Values by pod size, as the first releases had them -> the one for the smallest."""
        if not isinstance(value, dict) or not value or not set(value) <= {*_PODS, "default"}:
            return value
        chosen = next(pod for pod in ("default", *_PODS) if pod in value)
        if any(other != value[chosen] for other in value.values()):
            shown = json.dumps(value)[:120]
            more = "; `--set ipu.pod=N` multiplies replicas and the batch" if key == "replication_factor" else ""
            self.notes.append(f"{key}: {shown} became {value[chosen]!r}, the value of {chosen!r}{more}")
        return value[chosen]

    def _check_names(self) -> None:
        known = {*_DEFAULTS, *_WITHOUT_EFFECT, *_REFUSED, *_LIKE_TRAINING}
        for key, value in self.values.items():
            plain = key[len("inference_") :] if key.startswith("inference_") else key
            if key in _REFUSED:
                allowed, fix = _REFUSED[key]
                if not any(value is item or value == item for item in allowed):
                    self.problems.append(f"{key}: is {_shown(value)}; {fix}")
            elif key in _WITHOUT_EFFECT:
                if _WITHOUT_EFFECT[key] and value:
                    self.notes.append(f"{key} has no effect: {_WITHOUT_EFFECT[key]}")
            elif key.startswith("inference_") and plain in _LIKE_TRAINING:
                if value is not None and value != self.values.get(plain):
                    self.problems.append(f"{key}: differs from {plain}; asrctl evaluates as it trains, so remove it")
            elif key not in known:
                close = difflib.get_close_matches(key, sorted(known), n=1)
                fix = f"did you mean {close[0]}?" if close else "remove it"
                self.problems.append(f"{_shown(key)[1:-1]}: is unknown; {fix}")

    # -- values -----------------------------------------------------------------------------------------------------

    def _get(self, key: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
        fallback = _DEFAULTS.get(key, default)
        value = self.values.get(key, fallback)
        value = fallback if value is None else value
        try:
            return convert(value)
        except ValueError as error:
            self.problems.append(f"{key}: is {_shown(value)}, but {error}")
            return fallback

    def _numbers(self, key: str, *, low: int) -> List[int]:
        value = self.values.get(key) or [-1]
        good = isinstance(value, list) and value and all(_is_whole(item, low) for item in value)
        if not good:
            self.problems.append(
                f"{key}: is {_shown(value)}, but must be a list of layers per IPU, such as [9, 4, 4, 4]"
            )
            return []
        return list(value)

    def _proportions(self, ipus: int) -> List[float]:
        """One number for each IPU. ipus is checked already where there is no problem."""
        value = self.values.get("matmul_proportion", _DEFAULTS["matmul_proportion"])
        shares = value if isinstance(value, list) else [value] * min(ipus, 1000)
        good = all(isinstance(item, (int, float)) and not isinstance(item, bool) and 0 <= item <= 1 for item in shares)
        if not good or len(shares) != ipus:
            self.problems.append(
                f"matmul_proportion: is {_shown(value)}, but must be a share from 0 to 1, or {ipus} of them"
            )
            return []
        return [float(item) for item in shares]

    # -- what belongs together ----------------------------------------------------------------------------------------

    def _fit(self, ipu: Dict[str, Any], accumulation: int) -> None:
        layers, ipus = ipu["layers_per_ipu"], ipu["ipus_per_replica"]
        if layers == [-1]:
            layers = ipu["layers_per_ipu"] = [-1] * ipus
        if len(layers) != ipus:
            self.problems.append(
                f"layers_per_ipu: has {len(layers)} entries, ipus_per_replica is {ipus}; make them agree"
            )
            return
        need = pipeline_minimum(ipus)
        if accumulation < need:
            self.problems.append(
                f"gradient_accumulation_steps: is {accumulation}; a pipeline over {ipus} IPUs needs at least {need}"
            )
        if ipus > 1 and ipu["inference_device_iterations"] < ipus:
            self.notes.append(
                f"inference_device_iterations: {ipu['inference_device_iterations']} became {ipus}, one for each IPU"
            )
            ipu["inference_device_iterations"] = ipus
        self._old_count(ipu)

    def _old_count(self, ipu: Dict[str, Any]) -> None:
        layers = ipu["layers_per_ipu"]
        if -1 in layers or sum(layers) not in _OLD_COUNTS or len(layers) == 1:
            return
        counted = [layers[0] + _BEFORE_ENCODER, *layers[1:-1], layers[-1] + _AFTER_ENCODER]
        self.notes.append(
            f"layers_per_ipu: {layers} counts transformer layers only, as the first releases did; it became {counted}, "
            f"with the convolutions on the first IPU and the head on the last"
        )
        ipu["layers_per_ipu"] = counted

    def _preset(self, ipu: Dict[str, Any], accumulation: int, seed: Optional[int]) -> Dict[str, Any]:
        total = sum(ipu["layers_per_ipu"])
        base = _BASES.get(total) if -1 not in ipu["layers_per_ipu"] else None
        if base is None:
            base = "base-4ipu" if ipu["ipus_per_replica"] < 8 else "large-8ipu"
            self.notes.append(f"the file does not tell the size of the model; it extends {base}: set model.checkpoint")
        optim: Dict[str, Any] = {"global_batch": ipu["micro_batch"] * ipu["replication"] * accumulation}
        if seed is not None:
            optim["seed"] = seed
        return {
            "name": self.name,
            "description": f"imported from an {FILE_NAME}; everything else as {base}",
            "extends": base,
            "optim": optim,
            "ipu": ipu,
        }


def _whole(low: int, *, optional: bool = False) -> Callable[[Any], Optional[int]]:
    def convert(value: Any) -> Optional[int]:
        if value is None and optional:
            return None
        if not _is_whole(value, low):
            raise ValueError(f"must be a whole number from {low} to {MAX_NUMBER}")
        return int(value)

    return convert


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_NUMBER


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _output_mode(value: Any) -> str:
    # `default` means `final` while training.
    if value not in ("final", "all", "sum", "default"):
        raise ValueError("must be final, all, sum or default")
    return "final" if value == "default" else str(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
