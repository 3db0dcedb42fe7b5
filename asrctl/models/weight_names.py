"""Names in a file of weights -> those of a plain model: what compiling and parallel training put before them comes off.

torch.compile names all weights of a model `_orig_mod.*`, DataParallel `module.*`, a training framework often `model.*`;
any part of a model may be wrapped so, and several times.
"""

from __future__ import annotations

from typing import Dict, Iterable, List

from asrctl.models import architectures

# No speech encoder of transformers has parts of these names.
_WRAPPERS = frozenset(("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"))
# A weight that every model here has, and what stands before it in transformers' own files.
_ANCHOR = "feature_extractor.conv_layers.0.conv.weight"
_BASES = (*(f"{kind.replace('-', '_')}." for kind, item in architectures.LISTED.items() if item.hears_samples), "")
# The same weight in a checkpoint of fairseq.
_FAIRSEQ = "feature_extractor.conv_layers.0.0.weight"


def plain_names(names: Iterable[str]) -> Dict[str, str]:
    """{name in the file: name of the model's}. Raises ValueError where that is not sure, with the reason."""
    bare = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    if any(name.endswith(_FAIRSEQ) for name in bare.values()):
        raise ValueError("they have fairseq's names; transformers' script for that architecture converts them")
    wrapper = _wrapper(list(bare.values()))
    found = {name: other[len(wrapper) :] if other.startswith(wrapper) else other for name, other in bare.items()}
    if len(set(found.values())) < len(found):
        raise ValueError("some of them have one name, once it is freed of what wraps the model")
    return found


def _wrapper(names: List[str]) -> str:
    """What stands before the names of a model that is part of something larger."""
    before = [name[: -len(_ANCHOR)] for name in names if name == _ANCHOR or name.endswith("." + _ANCHOR)]
    if not before or any(prefix in _BASES for prefix in before):
        return ""
    found = {_without_base(prefix) for prefix in before}
    if len(before) > 1:
        raise ValueError(f"they are those of several models: {', '.join(sorted(f'{prefix}*' for prefix in before))}")
    return found.pop()


def _without_base(prefix: str) -> str:
    base = next(base for base in _BASES if prefix.endswith("." + base) or not base)
    return prefix[: len(prefix) - len(base)]
