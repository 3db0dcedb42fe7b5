"""Is this machine fit for the work? One check after another: Python, libraries, devices, codecs, disk."""

from __future__ import annotations

import importlib
import io
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from asrctl.errors import StorageError
from asrctl.messages import amounts, reasons
from asrctl.runtime import devices, memory
from asrctl.storage import flock, names

OK, WARN, FAIL = "ok", "warn", "fail"

_REQUIRED = ("datasets", "pyarrow", "numpy", "safetensors", "soundfile", "soxr", "jiwer", "pyyaml", "typer", "rich")
_REINSTALL = "install asrctl again: python -m pip install asrctl"
_LOW_DISK_BYTES = 10e9
_NO_DISK_BYTES = 1e9


@dataclass(frozen=True)
class Check:
    """What was looked at, ok | warn | fail, what was found, and one fix where it is not ok."""

    name: str
    state: str
    found: str
    fix: Optional[str] = None

    def as_dict(self) -> Dict[str, Any]:
        return {"name": self.name, "state": self.state, "found": self.found, "fix": self.fix}


def doctor(workspace: Path) -> List[Check]:
    """All checks, in the order in which they are shown. A check that breaks is itself a failed check."""
    checks: List[Check] = []
    for look in (_python, _libraries, _torch, _transformers, _cpu, _accelerators, _ipu, _codecs, _resampler, _extras):
        checks.extend(_run(look))
    checks.extend(_run(lambda: _disk(workspace)))
    checks.extend(_run(lambda: _writable(workspace)))
    return checks


def _run(look: Callable[[], Iterable[Check]]) -> List[Check]:
    name = getattr(look, "__name__", "check").strip("_")
    try:
        return list(look())
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        memory.raise_shortage(error)
        return [Check(name, FAIL, f"{type(error).__name__}: {reasons.reason(error)}", _REINSTALL)]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    found = f"{platform.python_implementation()} {version} on {platform.platform(terse=True)} {platform.machine()}"
    yield Check("python", OK, found)
    if sys.getfilesystemencoding().lower().replace("-", "") != "utf8":
        fix = "set LC_ALL=C.UTF-8, so that file names keep their letters"
        yield Check("encoding", WARN, sys.getfilesystemencoding(), fix)


def _libraries() -> Iterator[Check]:
    found, missing = [], []
    for name in _REQUIRED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("libraries", FAIL, f"missing: {', '.join(missing)}", _REINSTALL)
    else:
        yield Check("libraries", OK, ", ".join(found))


def _torch() -> Iterator[Check]:
    import torch

    if _numbers(torch.__version__) < (2, 0):
        yield Check("torch", FAIL, torch.__version__, "python -m pip install 'torch>=2.0'")
    else:
        yield Check("torch", OK, f"{torch.__version__}, {amounts.count(torch.get_num_threads(), 'thread')}")


def _transformers() -> Iterator[Check]:
    version = metadata.version("transformers")
    if _numbers(version) < (4, 29):
        yield Check("transformers", FAIL, version, "python -m pip install 'transformers>=4.29'")
        return
    generation = "the generation of optimum-graphcore" if _numbers(version) < (4, 30) else "current generation"
    importlib.import_module("transformers")
    yield Check("transformers", OK, f"{version} ({generation})")


def _cpu() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    precision = "bf16 in hardware" if devices.cpu_has_bf16() else "no bf16 in hardware, so fp32 is used"
    yield Check("cpu", OK, f"{amounts.count(cores, 'core')}, {precision}")


def _accelerators() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Check("cuda", OK, f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        yield Check(
            "cuda", WARN, "an NVIDIA driver, but a torch without CUDA", "install the CUDA build of torch (pytorch.org)"
        )
    elif torch.version.cuda is not None and shutil.which("nvidia-smi"):
        fix = "run `nvidia-smi`; the driver may be older than torch's CUDA"
        yield Check("cuda", WARN, "torch finds no usable GPU", fix)
    else:
        yield Check("cuda", OK, "none; --device cuda is not available here")
    if torch.backends.mps.is_available():
        yield Check("mps", OK, "Apple GPU")


def _ipu() -> Iterator[Check]:
    sdk = util.find_spec("poptorch") is not None
    if sdk:
        try:
            import poptorch  # noqa: F401
        except (ImportError, OSError) as error:
            fix = "source the enable scripts of the Poplar SDK in this shell"
            yield Check("ipu", WARN, f"poptorch is installed and does not load ({reasons.reason(error)})", fix)
            return
    package = util.find_spec("optimum") is not None and util.find_spec("optimum.graphcore") is not None
    if sdk and package:
        yield Check("ipu", OK, "Poplar SDK (poptorch) and optimum-graphcore are installed")
    elif sdk:
        yield Check("ipu", WARN, "Poplar SDK, but no optimum-graphcore", "python -m pip install 'asrctl[ipu]'")
    else:
        yield Check("ipu", OK, "no Poplar SDK; --device ipu is not available here")


def _codecs() -> Iterator[Check]:
    import numpy as np
    import soundfile

    formats = soundfile.available_formats()
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(1600, dtype=np.int16), 16000, format="FLAC")
    stream.seek(0)
    samples, rate = soundfile.read(stream, dtype="int16")
    library = f"libsndfile {soundfile.__libsndfile_version__}"
    if len(samples) != 1600 or rate != 16000 or "OGG" not in formats:
        yield Check("codecs", FAIL, f"{library} can not read FLAC and OGG", "python -m pip install -U soundfile")
    elif "MP3" not in formats:
        yield Check("codecs", WARN, f"{library} without MP3", "python -m pip install -U soundfile (libsndfile >= 1.1)")
    else:
        yield Check("codecs", OK, f"{library}: WAV, FLAC, OGG, MP3, AIFF and {len(formats) - 5} more")


def _resampler() -> Iterator[Check]:
    import numpy as np
    import soxr

    length = len(soxr.resample(np.zeros(8000, dtype=np.float32), 8000, 16000))
    if abs(length - 16000) > 1:
        yield Check("resampler", FAIL, f"soxr made {length} samples of 8000", _REINSTALL)
    else:
        yield Check("resampler", OK, f"soxr {soxr.__version__}")


def _extras() -> Iterator[Check]:
    from asrctl.export import onnx

    extras = {
        "demo": (["espeakng_loader"], "asrctl demo"),
        "onnx": (onnx.packages(), "asrctl export --format onnx"),
        "s3": (["s3fs"], "corpora at s3://"),
        "gs": (["gcsfs"], "corpora at gs://"),
    }
    for name, (modules, use) in extras.items():
        missing = [module for module in modules if util.find_spec(module) is None]
        if missing:
            found = f"not installed ({', '.join(missing)}); only needed for `{use}`"
            yield Check(f"extra {name}", WARN, found, f"python -m pip install 'asrctl[{name}]'")
        else:
            yield Check(f"extra {name}", OK, f"for `{use}`")


def _disk(workspace: Path) -> Iterator[Check]:
    place = _existing(workspace)
    free = shutil.disk_usage(str(place)).free
    found = f"{amounts.size(free)} free at {place}"
    if free < _LOW_DISK_BYTES:
        state = FAIL if free < _NO_DISK_BYTES else WARN
        yield Check("disk", state, found, "free some space, or choose another disk with --workspace")
    else:
        yield Check("disk", OK, found)


def _writable(workspace: Path) -> Iterator[Check]:
    place = _existing(workspace)
    fix = "correct the permissions, or choose another place with --workspace"
    if not place.is_dir():
        yield Check("workspace", FAIL, f"{place} is not a folder", "choose another --workspace")
        return
    if not names.is_text(workspace):
        yield Check("workspace", FAIL, f"the path {workspace} is not UTF-8", "choose another --workspace")
        return
    try:
        with tempfile.TemporaryFile(dir=str(place)) as stream:
            stream.write(b"asrctl")
            flock.take(stream.fileno(), place)
    except StorageError as error:
        yield Check("workspace", FAIL, error.message, error.fix)
        return
    except OSError as error:
        yield Check("workspace", FAIL, f"{place}: {error.strerror}", fix)
        return
    yield Check("workspace", OK, f"{workspace} can be written" + ("" if workspace.exists() else " (not there yet)"))


def _existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _numbers(version: str) -> Tuple[int, ...]:
    """ "2.13.0+cpu" -> (2, 13)."""
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2])
