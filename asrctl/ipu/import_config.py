"""ipu_config.json, as optimum-graphcore and the Graphcore models on the hub have it, -> the text of a preset.

Key spellings of every release of optimum-graphcore are known here, and what each means to release 0.7.1: values for
several pod sizes (`{"pod4": 1, "pod16": 4, "default": 1}`), `training_...` names, keys that are gone. What can not be
kept is refused with its name, all of it at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from asrctl.config.recipe import MAX_BATCH, IpuSection, OptimSection
from asrctl.config.recipe_checks import pipeline_minimum
from asrctl.errors import MissingArtifact, PresetError
from asrctl.ipu.import_keys import DEFAULTS, ELSEWHERE, LIKE_TRAINING, NAMES, OLD_NAMES, REFUSED, WITHOUT_EFFECT
from asrctl.messages import reasons, suggestions

FILE_NAME = "ipu_config.json"
MAX_BYTES = 1_000_000
_FIX = "correct the keys named above in the file, and import it again"

# Layers that layers_per_ipu adds up to -> the preset that is extended: 7 convolutions, the positional embedding, 12 or
# 24 transformer layers, the head. The first configurations counted the transformer layers only.
_BASES = {21: "base-4ipu", 33: "large-8ipu", 12: "base-4ipu", 24: "large-8ipu"}
_OLD_COUNTS = (12, 24)
_BEFORE_ENCODER, _AFTER_ENCODER = 8, 1

# Releases knew different ones: pod4, pod16, pod64, pod128 and pod256 at first, pod4 to pod64 later.
_POD = re.compile(r"pod([1-9]\d{0,3})")


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
        text = path.read_text(encoding="utf-8")
        values = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_doubles)
    except (ValueError, RecursionError) as error:
        raise PresetError(
            f"{path} is not valid JSON ({reasons.reason(error)})", fix="correct the file at that place"
        ) from None
    if not isinstance(values, dict):
        raise PresetError(f"{path} holds no keys, so it is no {FILE_NAME}", fix="check that this is the right file")
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _no_doubles(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """A key may stand there twice with one value, not with two: which of them counts is anybody's guess."""
    found: Dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise ValueError(f"{_shown(key)} stands there twice, with {_shown(found[key])} and {_shown(value)}")
        found[key] = value
    return found


def translate(values: Mapping[str, Any], name: str, where: Optional[Path] = None) -> Imported:
    """The preset `name`. where: the file, for errors. Raises PresetError naming every key that can not be kept."""
    return _Translation(values, name, where).result()


class _Translation:
    """One file on its way; collects problems and notes."""

    def __init__(self, values: Mapping[str, Any], name: str, where: Optional[Path]) -> None:
        self.name, self.where = name, where or name
        self.problems: List[str] = []
        self.notes: List[str] = []
        self.values = {key: self._one_pod(key, value) for key, value in self._today(values).items()}

    def result(self) -> Imported:
        self._check_names()
        layers = self._numbers("layers_per_ipu", low=-1)
        ipus = self._get("ipus_per_replica", _whole("ipus_per_replica"), default=len(layers) or 1)
        ipu: Dict[str, Any] = {"layers_per_ipu": layers, "ipus_per_replica": ipus, "micro_batch": 1}
        for key in (
            "replication_factor",
            "inference_replication_factor",
            "device_iterations",
            "inference_device_iterations",
        ):
            ipu[NAMES.get(key, key)] = self._get(key, _whole(NAMES.get(key, key)))
        for key, default in DEFAULTS.items():
            if isinstance(default, bool):
                ipu[key] = self._get(key, _truth)
        if self.values.get("output_mode") is not None:
            ipu["output_mode"] = self._get("output_mode", _output_mode)
        ipu["matmul_proportion"] = self._proportions(ipus)
        accumulation = self._get("gradient_accumulation_steps", _whole("global_batch", OptimSection))
        seed = self._get("seed", _whole("seed", OptimSection, optional=True))
        if not self.problems:
            self._fit(ipu, accumulation)
        if self.problems:
            count = "a key" if len(self.problems) == 1 else f"{len(self.problems)} keys"
            raise PresetError(f"{self.where}: {count} can not be kept", fix=_FIX, problems=self.problems)
        return Imported(self._preset(ipu, accumulation, seed), tuple(self.notes))

    # -- keys -------------------------------------------------------------------------------------------------------

    def _today(self, values: Mapping[str, Any]) -> Dict[str, Any]:
        """Today's spelling of every key."""
        found: Dict[str, Any] = {}
        for key, value in values.items():
            plain = key[len("training_") :] if key.startswith("training_") else OLD_NAMES.get(key, key)
            if plain in found and found[plain] != value:
                self.problems.append(f"{key}: stands there beside {plain} with another value; keep one of them")
            found[plain] = value
        return found

    def _one_pod(self, key: str, value: Any) -> Any:
        """Values by pod size, as the first releases had them -> the default, or else the one for the smallest."""
        if not isinstance(value, dict) or not value:
            return value
        sizes = {name: int(found.group(1)) for name in value for found in [_POD.fullmatch(name)] if found}
        if not set(value) <= {*sizes, "default"} or any(size & (size - 1) for size in sizes.values()):
            return value
        chosen = "default" if "default" in value else min(sizes, key=lambda name: sizes[name])
        if any(other != value[chosen] for other in value.values()):
            shown = json.dumps(value)[:120]
            more = f"; {self._for_other_pods(value, sizes)}" if key == "replication_factor" else ""
            self.notes.append(f"{key}: {shown} became {value[chosen]!r}, the value of {chosen!r}{more}")
        return value[chosen]

    def _for_other_pods(self, value: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
        """replication_factor: `ipu.pod` makes the replicas grow with the pod, which most files do, and some do not."""
        counts = [value[name] for name in sizes]
        grows = all(isinstance(count, int) for count in counts) and len(
            {sizes[name] / value[name] for name in sizes if value[name]}
        )
        if grows == 1:
            return "`--set ipu.pod=N` multiplies replicas and the batch"
        return "set ipu.replication and optim.global_batch for another pod"

    def _check_names(self) -> None:
        known = {*DEFAULTS, *WITHOUT_EFFECT, *REFUSED, *LIKE_TRAINING}
        for key, value in self.values.items():
            plain = key[len("inference_") :] if key.startswith("inference_") else key
            if key in REFUSED:
                allowed, fix = REFUSED[key]
                if not any(value is item or value == item for item in allowed):
                    self.problems.append(f"{key}: is {_shown(value)}; {fix}")
            elif key in WITHOUT_EFFECT:
                if WITHOUT_EFFECT[key] and value:
                    self.notes.append(f"{key} has no effect: {WITHOUT_EFFECT[key]}")
            elif key.startswith("inference_") and plain in LIKE_TRAINING:
                if value is not None and value != self.values.get(plain):
                    self.problems.append(f"{key}: differs from {plain}; asrctl evaluates as it trains, so remove it")
            elif key in ELSEWHERE:
                self.problems.append(
                    f"{key}: is no key of an IPU; set {ELSEWHERE[key]} in the preset, and remove it here"
                )
            elif key not in known:
                fix = suggestions.question(key, sorted(known), str) or "remove it"
                self.problems.append(f"{_shown(key)[1:-1]}: is unknown; {fix}")

    # -- values -----------------------------------------------------------------------------------------------------

    def _get(self, key: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
        fallback = DEFAULTS.get(key, default)
        value = self.values.get(key, fallback)
        value = fallback if value is None else value
        try:
            return convert(value)
        except ValueError as error:
            self.problems.append(f"{key}: is {_shown(value)}, but {error}")
            return fallback

    def _numbers(self, key: str, *, low: int) -> List[int]:
        value, most = self.values.get(key) or [-1], _limits(key)["high"]
        good = isinstance(value, list) and value and all(_is_whole(item, low, most) for item in value)
        if not good:
            self.problems.append(
                f"{key}: is {_shown(value)}, but must be a list of layers per IPU, such as [9, 4, 4, 4]"
            )
            return []
        return list(value)

    def _proportions(self, ipus: int) -> List[float]:
        """One number for each IPU. ipus is checked already where there is no problem."""
        value = self.values.get("matmul_proportion", DEFAULTS["matmul_proportion"])
        shares = value if isinstance(value, list) else [value] * min(ipus, 1000)
        if isinstance(value, list) and len(value) == 1 < ipus:
            self.notes.append(f"matmul_proportion: {value} became that number for each IPU, as in the first releases")
            shares = value * min(ipus, 1000)
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
        if len(layers) != ipus and layers != [-1]:
            self.problems.append(
                f"layers_per_ipu: has {len(layers)} entries, ipus_per_replica is {ipus}; make them agree"
            )
            return
        batch = ipu["micro_batch"] * ipu["replication"] * accumulation
        if batch > MAX_BATCH:
            self.problems.append(f"gradient_accumulation_steps: makes a batch of {batch:,}, the most is {MAX_BATCH:,}")
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


def _limits(key: str, section: Any = IpuSection) -> Mapping[str, Any]:
    """Those of the preset's key."""
    return next(item.metadata for item in dataclasses.fields(section) if item.name == key)


def _whole(key: str, section: Any = IpuSection, *, optional: bool = False) -> Callable[[Any], Optional[int]]:
    """Converts to a whole number that the preset's key can hold. Raises ValueError."""
    low, high = (int(_limits(key, section)[name]) for name in ("low", "high"))

    def convert(value: Any) -> Optional[int]:
        if value is None and optional:
            return None
        if not _is_whole(value, low, high):
            raise ValueError(f"must be a whole number from {low} to {high}{_no_pods(value)}")
        return int(value)

    return convert


def _no_pods(value: Any) -> str:
    return ', or one for each pod, such as {"pod4": 1, "pod16": 4, "default": 1}' if isinstance(value, dict) else ""


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


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
