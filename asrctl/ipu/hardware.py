"""Whether a Poplar SDK, an IPU and optimum-graphcore are here; each lack is an error that says what to do."""

from __future__ import annotations

import importlib.util
from typing import Tuple, Type

from asrctl.errors import DeviceError, MissingDependency
from asrctl.ipu import emulation
from asrctl.messages import reasons
from asrctl.messages.command_lines import pip_install
from asrctl.runtime import compat

_INSTEAD = "use `--device ipu-emulated` to run the same program without an IPU, or `--device cpu`"


def require(kind: str, *, hardware: bool = True) -> None:
    """Make `poptorch` and optimum-graphcore importable for ipu or ipu-emulated.

    hardware: an IPU is needed too, not only the SDK. Raises DeviceError, MissingDependency.
    """
    if kind == "ipu":
        _require_sdk()
        if hardware:
            _require_hardware()
    else:
        emulation.activate()
    if importlib.util.find_spec("optimum") is None or importlib.util.find_spec("optimum.graphcore") is None:
        raise MissingDependency("optimum-graphcore is not installed", fix=pip_install("asrctl[ipu]"))


def _require_sdk() -> None:
    if importlib.util.find_spec("poptorch") is None or emulation.is_emulated():
        raise DeviceError(
            "no Poplar SDK is here: poptorch can not be imported",
            fix=f"install the SDK's poptorch wheel and source its enable scripts, or {_INSTEAD}",
        )
    try:
        with compat.quiet_transformers():
            import poptorch  # noqa: F401
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"the Poplar SDK's poptorch can not be loaded ({reasons.reason(error)})",
            fix=f"source the enable scripts of the Poplar SDK in this shell, or {_INSTEAD}",
        ) from None


def _require_hardware() -> None:
    import poptorch

    if not poptorch.ipuHardwareIsAvailable():
        raise DeviceError(
            "the Poplar SDK sees no IPU", fix=f"check the V-IPU partition (IPUOF_VIPU_API_PARTITION_ID), or {_INSTEAD}"
        )
    version = poptorch.ipuHardwareVersion()
    if version not in (2, 21):
        raise DeviceError(
            f"this IPU is of generation Mk{version}, and optimum-graphcore needs a Mk2",
            fix=f"use a machine with a Mk2 IPU, or {_INSTEAD}",
        )


def errors() -> Tuple[Type[BaseException], ...]:
    """What poptorch raises where the device or its compiler says no; after `require`."""
    import poptorch

    return (poptorch.Error,)
