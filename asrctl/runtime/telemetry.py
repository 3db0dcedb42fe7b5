"""Switch off libraries' telemetry, and what they would leave in the home folder, before they are imported."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Mapping

# onnxruntime 1.29 and later keep a device id and a store of events in the home folder, written and uploaded from its
# import on. The others only report when they are used, some of them only by other parts than asrctl calls.
SWITCHES: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",  # of any program, https://donottrack.sh
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",  # transformers 4, diffusers
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# transformers 4 makes a cache of its own when it is imported, unless there is one with a file that says it is new. It
# would stay empty: asrctl fetches models with the hub's library, which has its own variables and its own cache.
_NO_CACHE = Path(__file__).with_name("no_cache")


def switch_off() -> None:
    """For this process and those that it starts. What the user has set stays."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    if "TRANSFORMERS_CACHE" not in os.environ:
        os.environ["TRANSFORMERS_CACHE"] = str(_NO_CACHE)
        warnings.filterwarnings("ignore", "Using `TRANSFORMERS_CACHE` is deprecated")
