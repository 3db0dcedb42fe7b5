"""Which layer runs on which IPU, as `parallelize()` of optimum-graphcore's CTC models decides it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

from asrctl.errors import PresetError
from asrctl.messages import amounts

_FIX = "correct ipu.layers_per_ipu, or let `asrctl plan --search` propose one"


@dataclass(frozen=True)
class Placement:
    """names: the layers in their order. ipus: the IPU of each. layers_per_ipu: without wildcards.

    blocks: False where a replica is one IPU; no blocks are begun then, all layers being on IPU 0.
    """

    names: Tuple[str, ...]
    ipus: Tuple[int, ...]
    layers_per_ipu: Tuple[int, ...]

    @property
    def blocks(self) -> bool:
        return len(self.layers_per_ipu) > 1

    @property
    def stages(self) -> List[int]:
        """The IPU of each pipeline stage: an IPU without layers makes no stage."""
        return sorted(set(self.ipus))

    def on(self, ipu: int) -> List[int]:
        """Indices of the layers on an IPU."""
        return [index for index, place in enumerate(self.ipus) if place == ipu]


def layer_names(convolutions: int, transformer_layers: int) -> List[str]:
    """What is placed, in its order. The feature projection has no entry: it follows the last convolution."""
    names = [f"Conv {index}" for index in range(convolutions)] + ["Positional Embedding"]
    return names + [f"Encoder {index}" for index in range(transformer_layers)] + ["Project Hidden"]


def expand(layers_per_ipu: Sequence[int], ipus_per_replica: int, total: int) -> Tuple[int, ...]:
    """`layers_per_ipu` without -1, as optimum-graphcore 0.7.1 resolves it: the wildcards share what the numbers leave,
    and the last of them takes the remainder. One IPU takes everything, whatever is written. Raises PresetError.
    """
    if ipus_per_replica == 1:
        return (total,)
    counts = list(layers_per_ipu)
    if counts == [-1]:
        counts = [-1] * ipus_per_replica
    if len(counts) != ipus_per_replica:
        raise PresetError(
            f"ipu.layers_per_ipu has {amounts.count(len(counts), 'entry', 'entries')} for "
            f"{amounts.count(ipus_per_replica, 'IPU')}",
            fix=_FIX,
        )
    free = [place for place, count in enumerate(counts) if count == -1]
    given = sum(count for count in counts if count != -1)
    if free and given <= total:
        share, rest = divmod(total - given, len(free))
        for place in free:
            counts[place] = share
        counts[free[-1]] += rest
    if sum(counts) != total or min(counts) < 0:
        shown = ", ".join(map(str, layers_per_ipu))
        raise PresetError(
            f"ipu.layers_per_ipu ({shown}) places {amounts.count(given, 'layer')}, the model has {total}", fix=_FIX
        )
    return tuple(counts)


def place(names: Sequence[str], layers_per_ipu: Sequence[int], ipus_per_replica: int) -> Placement:
    """The placement of layers. Raises PresetError where the counts do not add up."""
    counts = expand(layers_per_ipu, ipus_per_replica, len(names))
    ipus = [ipu for ipu, count in enumerate(counts) for _ in range(count)]
    return Placement(tuple(names), tuple(ipus), counts)
