"""Words and their numbers. The first three are not words of a text."""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
UNK_ID, BOS_ID, EOS_ID = range(3)
SPECIAL = (UNK, BOS, EOS)


class Words:
    """Numbers words in the order in which they come."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self.ids: Dict[str, int] = {word: number for number, word in enumerate(SPECIAL)}
        for word in words:
            self.ids.setdefault(word, len(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def numbered(self, sentence: Sequence[str]) -> List[int]:
        """The number of each word; one that was not there before gets the next."""
        ids = self.ids
        return [ids.setdefault(word, len(ids)) for word in sentence]

    def listed(self) -> List[str]:
        """Words in the order of their numbers."""
        return list(self.ids)
