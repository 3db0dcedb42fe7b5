"""The placement that `plan` prints is the one that optimum-graphcore makes."""

from __future__ import annotations

from types import ModuleType
from typing import List, Tuple

import pytest

from asrctl.ipu.plan import placement

from . import tiny


def really(optimum: ModuleType, kind: str, layers: int, layers_per_ipu: List[int], ipus: int) -> List[Tuple[str, int]]:
    """(block, IPU) as parallelize() leaves them on the layers of the model, in the order of the model's layers."""
    from optimum.graphcore.modeling_utils import to_pipelined

    model = tiny.ctc_model(kind, num_hidden_layers=layers)
    config = optimum.IPUConfig(layers_per_ipu=layers_per_ipu, ipus_per_replica=ipus)
    pipelined = to_pipelined(model, config)
    pipelined.parallelize()
    hooks = [hook for module in pipelined.modules() for hook in module._forward_pre_hooks.values()]
    blocks = [hook for hook in hooks if type(hook).__name__ == "BlockHook"]
    return sorted((" ".join(hook.name.split()), hook.ipu) for hook in blocks)


@pytest.mark.parametrize("kind", sorted(tiny.MODELS))
@pytest.mark.parametrize(
    ("layers", "layers_per_ipu", "ipus"),
    [
        (12, [9, 4, 4, 4], 4),
        (24, [8, 3, 4, 4, 4, 4, 4, 2], 8),
        (12, [-1], 4),
        (12, [-1, -1, -1, -1], 4),
        (12, [9, -1, 4, -1], 4),
        (24, [9, -1, -1, -1, -1, -1, -1, 2], 8),
        (24, [8, -1, 0, 4, 4, 4, 4, 2], 8),
        (12, [0, 12, -1, 4], 4),
        (12, [21], 1),
        (12, [-1], 1),
    ],
)
def test_plan_places_as_parallelize_does(optimum, kind, layers, layers_per_ipu, ipus):
    names = placement.layer_names(7, layers)
    planned = placement.place(names, layers_per_ipu, ipus)
    expected = sorted(zip(planned.names, planned.ipus)) if planned.blocks else []
    assert really(optimum, kind, layers, layers_per_ipu, ipus) == expected


@pytest.mark.parametrize("layers_per_ipu", [[9, 4, 4, 3], [9, 4, 4, 5], [9, 4]])
def test_what_parallelize_refuses_plan_refuses(optimum, layers_per_ipu):
    from asrctl.errors import PresetError

    with pytest.raises(PresetError, match="layers_per_ipu"):
        placement.place(placement.layer_names(7, 12), layers_per_ipu, 4)
    with pytest.raises(ValueError):
        really(optimum, "wav2vec2-group", 12, layers_per_ipu, 4)
