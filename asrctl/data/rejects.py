"""Utterances that are left out: their list, how many may be, and what to do about most of them."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional

from asrctl.data import audio
from asrctl.data.audio import AudioRules
from asrctl.data.utterance import split_path
from asrctl.errors import BadData
from asrctl.messages import amounts
from asrctl.storage import files, records
from asrctl.storage.records import is_text

FILE = "rejects.jsonl"
# The reason of what --drop names.
DROPPED = "dropped"
# --max-s takes no more, in seconds.
_LONGEST_S = 600
_EXAMPLES = 10
# Too long recordings whose headers are asked for their length.
_MEASURED = 64
_FIX_PART = "delete that folder and prepare the corpus again"
_CURES = {
    "no-audio": "correct the paths, which are read from the place of the list or folder",
    "no-transcript": "give these recordings a transcript",
    "truncated": "fetch or copy these recordings again",
    "empty": "record these again, or correct start and end",
    "outside": "correct start and end, which are seconds from the beginning of the recording",
    "no-channel": "name a channel that these recordings have (--channel 0 is the first), or --channel mix",
    "bad-rate": "convert these recordings to a usual sample rate",
    "too-short": "leave these out of the corpus",
    "silent": "record these again, or leave them out of the corpus",
    "clipped": "make these again from their source: louder than full scale, only a square wave is left",
    "off-scale": "convert these recordings to WAV or FLAC with samples of 16 bits",
    "ctc-impossible": "check that these transcripts belong to their recordings",
}


@dataclass(frozen=True)
class Reject:
    """A line of `rejects.jsonl`."""

    id: str
    audio: str
    reason: str
    detail: str

    def __post_init__(self) -> None:
        if not all(map(is_text, vars(self).values())):
            raise ValueError("it holds half a character")
        if self.reason not in audio.REASONS:
            raise ValueError(self.reason)

    def __str__(self) -> str:
        named = self.audio if self.audio.endswith(self.id) else f"{self.id} ({self.audio})"
        mark = ":" if self.reason == DROPPED and self.detail else ""
        return f"{named}: {self.reason}{mark} {self.detail}".rstrip()


@dataclass(frozen=True)
class Unread(Reject):
    """That of a recording whose digest is known, so that it could be read once, and now can not."""


@dataclass
class RejectLimit:
    """Counts rejects over all splits, and refuses once they are more than `share` of `total`.

    seen: utterances that were looked at until then. rules: the durations that are kept. hints: {reason: what to do},
    where whoever has read the corpus knows more than the reason says.
    """

    share: float
    total: int
    rules: AudioRules = AudioRules()
    hints: Mapping[str, str] = field(default_factory=dict)
    seen: int = 0
    reasons: "Counter[str]" = field(default_factory=Counter)
    examples: List[Reject] = field(default_factory=list)
    _measured: Dict[str, List[Reject]] = field(default_factory=lambda: {"too-long": [], "too-short": []})

    def add(self, rejects: Iterable[Reject], seen: int) -> None:
        """seen: utterances among which these rejects were. What --drop names is no matter of the corpus' quality."""
        self.seen += seen
        for reject in rejects:
            if reject.reason == DROPPED:
                self.seen -= 1
                continue
            self.reasons[reject.reason] += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(reject)
            if reject.reason in self._measured and len(self._measured[reject.reason]) < _MEASURED:
                self._measured[reject.reason].append(reject)

    def check(self) -> None:
        """Raises BadData above the limit."""
        count = sum(self.reasons.values())
        if count > self.share * self.total:
            among = f"the first {self.seen} of {self.total}" if self.seen < self.total else str(self.total)
            # If those to come are like those seen. Of none that is left no model can learn.
            enough = min(1.0, count / max(1, self.seen) + 0.05)
            allow = f", or allow more with --max-rejects {enough:.2f}" if count < self.seen else ""
            raise BadData(
                f"{count} of {among} utterances {amounts.noun(count, 'is', 'are')} rejected, more than --max-rejects "
                f"{self.share:g} allows",
                fix=f"{self.cure()}{allow}; what is done is kept",
                problems=self.lines(),
            )

    def lines(self) -> List[str]:
        counted = [f"{count} x {reason}: {audio.REASONS[reason]}" for reason, count in self.reasons.most_common()]
        return counted + [str(reject) for reject in self.examples]

    def cure(self) -> str:
        """What to do about the most frequent reason."""
        if not self.reasons:
            return "mend the data"
        reason = self.reasons.most_common(1)[0][0]
        if reason in self.hints:
            return self.hints[reason]
        if reason == "too-long":
            return self._keep_longer()
        if reason == "too-short" and self.rules.min_s > 0:
            lengths_s = self._lengths_s(reason)
            return f"keep shorter ones with --min-s {min(lengths_s, default=0.0):g}"
        if reason == "unreadable":
            return _readable(next((item.audio for item in self.examples if item.reason == reason), None))
        return _CURES.get(reason, "mend the data")

    def _keep_longer(self) -> str:
        lengths_s = self._lengths_s("too-long")
        cut = "cut them into stretches (the columns start and end of a list)"
        if not lengths_s:
            return f"keep longer ones with a --max-s above {self.rules.max_s:g}, or {cut}"
        most_s = math.ceil(max(lengths_s))
        if most_s > _LONGEST_S:
            return f"{cut}: they are up to {most_s} s long, and --max-s takes {_LONGEST_S} at most"
        return f"keep longer ones with --max-s {most_s}, or {cut}"

    def _lengths_s(self, reason: str) -> List[float]:
        """Of some of the rejects."""
        return [length for length in map(_length_s, self._measured[reason]) if length is not None]


def _length_s(reject: Reject) -> Optional[float]:
    """Seconds of a recording or stretch, where that can be known without decoding it."""
    if re.fullmatch(r"\d{1,9}\.\d+ s", reject.detail):
        return float(reject.detail.split()[0])
    path = Path(reject.audio)
    whole = split_path(reject.audio)[1] is None and reject.detail.startswith("more than") and files.is_file(path)
    return audio.duration_s(path) if whole else None


def _readable(path: Optional[str]) -> str:
    """What to do about recordings like this one, which libsndfile can not decode."""
    plain = "convert these recordings to WAV or FLAC"
    if path is None or split_path(path)[1] is not None:
        return plain
    made = Path(path).with_suffix(".flac" if path.lower().endswith(".wav") else ".wav")
    try:
        with files.open_regular(Path(path), fix=""):
            return f"{plain}, such as with ffmpeg -i {shlex.quote(path)} {shlex.quote(str(made))}"
    except BadData as error:  # what git-lfs has left in the place of a recording has a cure of its own
        return error.fix or plain
    except OSError:
        return plain


def read(path: Path) -> Iterator[Reject]:
    """The rejects in a `rejects.jsonl`. Raises BadData."""
    for number, values in files.read_json_lines(path, fix=_FIX_PART):
        yield records.read(Reject, values, f"{path}, line {number} is not a reject", fix=_FIX_PART)


def first(folders: Iterable[Path], most: int = 5) -> List[Reject]:
    """Some of the rejects of prepared splits. Raises BadData."""
    return list(islice(chain.from_iterable(read(folder / FILE) for folder in folders), most))
