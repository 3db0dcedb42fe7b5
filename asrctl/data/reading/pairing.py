"""Which recording of a folder belongs to which transcript, by their names."""

from __future__ import annotations

from collections import defaultdict
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.reading.file_names import folded, is_audio, may_be_audio, preference, stem_of

TRANSCRIPT = ".txt"


class Pairs(NamedTuple):
    """Names of the files of one folder.

    spoken: (recording, its transcript or None), by the recordings' names. silent: transcripts without a recording.
    copies: (recording left out, the one that is taken) of the same transcript. renamed: (recording, transcript) whose
    names differ in case or Unicode form.
    """

    spoken: List[Tuple[str, Optional[str]]]
    silent: List[str]
    copies: List[Tuple[str, str]]
    renamed: List[Tuple[str, str]]


def pair(names: Sequence[str]) -> Pairs:
    """names: the visible files of a folder, sorted.

    A transcript is that of its stem, or of the whole name (a.wav.txt). Of several recordings that share one, the best
    format is taken. A file of unknown kind counts only where it has a transcript and no recording has it too.
    """
    texts = {name[: -len(TRANSCRIPT)]: name for name in names if name.lower().endswith(TRANSCRIPT)}
    keys = {name: _key(name, texts) for name in names if is_audio(name)}
    renamed = _renamed(keys, texts)
    keys.update(renamed)
    copies = _copies(keys)
    spoken = set(keys.values())
    others = (name for name in names if not is_audio(name) and may_be_audio(name))
    unknown = {name: _key(name, texts) for name in others if not name.lower().endswith(TRANSCRIPT)}
    keys.update({name: key for name, key in unknown.items() if key is not None and key not in spoken})
    spoken.update(keys.values())
    return Pairs(
        [(name, None if key is None else texts[key]) for name, key in sorted(keys.items()) if name not in copies],
        [name for key, name in texts.items() if key not in spoken],
        list(copies.items()),
        [(name, texts[key]) for name, key in renamed],
    )


def _key(name: str, texts: Mapping[str, str]) -> Optional[str]:
    """The stem of the transcript that a file's own name leads to."""
    stem = stem_of(name)
    # a.WAV.wav is what somebody made of a.WAV.
    for key in (name, stem, *((stem_of(stem),) if is_audio(stem) else ())):
        if key in texts:
            return key
    return None


def _renamed(keys: Mapping[str, Optional[str]], texts: Mapping[str, str]) -> List[Tuple[str, str]]:
    """(recording, stem of a transcript) that are alone in having nearly the same name."""
    claimed = set(keys.values())
    stems: Dict[str, List[str]] = defaultdict(list)
    for stem in texts:
        if stem not in claimed:
            stems[folded(stem)].append(stem)
    alone: Dict[str, List[str]] = defaultdict(list)
    for name, key in keys.items():
        if key is None:
            alone[folded(stem_of(name))].append(name)
    return [
        (names[0], stems[form][0]) for form, names in alone.items() if len(names) == 1 and len(stems.get(form, ())) == 1
    ]


def _copies(keys: Mapping[str, Optional[str]]) -> Dict[str, str]:
    """{recording left out: the one of the same transcript that is taken}."""
    best: Dict[str, str] = {}
    for name, key in keys.items():
        if key is not None:
            best[key] = min(best.get(key, name), name, key=_preference)
    return {name: best[key] for name, key in keys.items() if key is not None and best[key] != name}


def _preference(name: str) -> Tuple[int, int, str]:
    return preference(name), len(name), name
