"""What `asrctl eval --dry-run` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional

from asrctl.commands import decoder_choice
from asrctl.commands.dry_run import DryRun
from asrctl.commands.evaluate_request import EvaluateRequest, ResolvedEvaluation, refuse_misfit, resolve, run_name
from asrctl.commands.select import ChosenData, find_data, is_elsewhere
from asrctl.data.dataset import PreparedSplit
from asrctl.events import Emit, ignore
from asrctl.models import loading
from asrctl.storage.workspace import Workspace


def plan(workspace: Workspace, request: EvaluateRequest, emit: Emit = ignore) -> DryRun:
    """What `evaluate` would do; nothing is written, transcribed or fetched. Raises what `evaluate` raises.

    Of the model only its files' heads are read. Hotwords and the language model are, as they have to fit its letters.
    """
    if request.run is None and is_elsewhere(request.model, emit):
        return _plan_unseen(workspace, request)
    meant = resolve(workspace, request, emit)
    folder = workspace.folder(meant.key.kind, meant.key.id)
    unchanged = not request.force and workspace.find(meant.key.kind, meant.key.id) is not None
    found = None if unchanged else loading.examine_trained(meant.trained.folder)
    if found is not None:
        refuse_misfit(found, meant, emit)
        meant.decoder.make(found.vocabulary, emit)  # for what it tells and refuses
    return DryRun(
        reads={"model": meant.trained.folder, "data": meant.split.folder},
        writes={"evaluation": folder},
        unchanged=unchanged,
        facts={
            "run": run_name(meant.trained),
            **_facts(meant.chosen, meant.split),
            "device": meant.how.device.kind,
            "precision": meant.how.precision,
            "decoder": meant.decoder.name,
            "id": meant.key.id,
            "time_s": None if unchanged else _most_time_s(meant),
            "memory_bytes": None if found is None else loading.num_bytes(found),
        },
    )


def _most_time_s(meant: ResolvedEvaluation) -> Optional[float]:
    """Seconds that training took for as much speech on such a device, which is more work; None where unknown."""
    from asrctl.commands.forecast import speech_s_per_s

    run = meant.trained.run
    speed = None if run is None else speech_s_per_s(run, meant.how.device.kind)
    return None if speed is None else round(meant.split.seconds / speed, 1)


def _plan_unseen(workspace: Workspace, request: EvaluateRequest) -> DryRun:
    """What is known without the model."""
    from asrctl.runtime import devices

    chosen = find_data(workspace, None, request.data)
    split = chosen.data.split(request.split or chosen.data.usual_split)
    facts = {"device": devices.choose(request.device).kind, "precision": request.precision or "fp32", "id": None}
    facts["decoder"] = decoder_choice.choose(workspace, request.decoder, None).name
    facts.update(time_s=None, memory_bytes=None)
    reads = {"model": Path(str(request.model)), "data": split.folder}
    return DryRun(reads, {}, unchanged=False, facts={"run": None, **_facts(chosen, split), **facts})


def _facts(chosen: ChosenData, split: PreparedSplit) -> Dict[str, Any]:
    return {
        "data": {"name": chosen.name, "id": chosen.data.artifact.id},
        "split": split.name,
        "utterances": len(split),
        "audio_s": round(split.seconds, 3),
    }
