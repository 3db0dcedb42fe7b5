"""Modified Kneser-Ney against the formulas, spelled out word by word, and against what must hold of any model."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, Sequence, Set, Tuple

import numpy as np
import pytest

from asrctl.language_models import counts, kneser_ney
from asrctl.language_models.kneser_ney import Estimated
from asrctl.language_models.ngram import LN_10, NgramModel

Gram = Tuple[str, ...]


def text(seed: int, sentences: int = 200, words: int = 250) -> List[List[str]]:
    """Words whose frequencies fall as those of a language do."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, words + 1) ** 1.3
    names = [f"w{number}" for number in range(words)]
    draw = lambda: list(generator.choice(names, generator.integers(1, 9), p=shares / shares.sum()))  # noqa: E731
    return [draw() for _ in range(sentences)]


class Spelled:
    """Chen and Goodman 1998 in dictionaries: slow, and close to the page."""

    def __init__(self, sentences: Sequence[Sequence[str]], order: int, prune: Sequence[int]) -> None:
        self.order = order
        self.raw: List["Counter[Gram]"] = [Counter() for _ in range(order)]
        for sentence in sentences:
            row = ["<s>", *sentence, "</s>"]
            for size in range(1, order + 1):
                for at in range(len(row) - size + 1):
                    self.raw[size - 1][tuple(row[at : at + size])] += 1
        self.adjusted = [self._adjusted(size) for size in range(1, order + 1)]
        self.kept: List[Set[Gram]] = [
            {gram for gram, count in self.raw[size].items() if size == 0 or count > prune[size]}
            for size in range(order)
        ]
        self.words = {gram[0] for gram in self.raw[0]} - {"<s>"} | {"<unk>"}
        self.discounts = [self._discounts(size) for size in range(order)]

    def _adjusted(self, size: int) -> Dict[Gram, int]:
        if size == self.order:
            return dict(self.raw[size - 1])
        before: Dict[Gram, Set[str]] = defaultdict(set)
        for gram in self.raw[size]:
            before[gram[1:]].add(gram[0])
        found = {gram: len(before[gram]) for gram in self.raw[size - 1]}
        found.update({gram: count for gram, count in self.raw[size - 1].items() if gram[0] == "<s>"})
        if size == 1:
            found[("<s>",)] = 0
        return found

    def _discounts(self, place: int) -> List[float]:
        n = Counter(self.adjusted[place].values())
        y = n[1] / (n[1] + 2 * n[2])
        return [0.0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]

    def probability(self, context: Gram, word: str) -> float:
        if context and context not in self.kept[len(context) - 1]:
            return self.probability(context[1:], word)
        place = len(context)
        found = {gram: count for gram, count in self.adjusted[place].items() if gram[:-1] == context}
        total = sum(found.values())
        lower = 1 / len(self.words) if not context else self.probability(context[1:], word)
        if not total:
            return lower
        own = {gram: count for gram, count in found.items() if gram in self.kept[place]}
        left = sum(found.values()) - sum(self._less(place, count) for count in own.values())
        return self._less(place, own.get((*context, word), 0)) / total + left / total * lower

    def _less(self, place: int, count: int) -> float:
        return count - self.discounts[place][min(count, 3)]


def estimated(sentences: Sequence[Sequence[str]], order: int, folder: Path, prune: Sequence[int] = ()) -> Estimated:
    folder.mkdir(exist_ok=True)
    return kneser_ney.estimate(counts.count(sentences, order, folder), prune)


def log(model: NgramModel, context: Gram, word: str) -> float:
    """log10 P(word | context), for a context that begins with <s> or anywhere."""
    state = np.array([model.begin]) if context[:1] == ("<s>",) else None
    for one in context[1:] if state is not None else context:
        number = np.array([model.id(one)])
        state = number if state is None else model.score(state, number)[1]
    state = np.array([model.ids["<unk>"]]) if state is None else state  # which is followed by nothing that is known
    return float(model.score(state, np.array([model.id(word)]))[0][0]) / LN_10


@pytest.mark.parametrize("prune", [(0, 0, 0), (0, 0, 1), (0, 1, 2)])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_probability_is_that_of_the_formulas(tmp_path: Path, seed: int, prune: Tuple[int, ...]) -> None:
    sentences = text(seed)
    wanted, found = Spelled(sentences, 3, prune), estimated(sentences, 3, tmp_path, prune)
    assert not found.guessed
    contexts = [(), ("<s>",), *((word,) for word in ("w0", "w3", "w17"))]
    contexts += sorted(wanted.raw[1])[::37]
    for context in contexts:
        if context[-1:] == ("</s>",):
            continue
        for word in ("w0", "w1", "w7", "w18", "</s>", "<unk>"):
            value = 10 ** log(found.model, context, word)
            assert value == pytest.approx(wanted.probability(context, word), rel=2e-5), (context, word)


@pytest.mark.parametrize("prune", [(), (0, 0, 1), (0, 1, 1, 2)])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_after_any_context_all_words_add_up_to_one(tmp_path: Path, order: int, prune: Tuple[int, ...]) -> None:
    model = estimated(text(3), order, tmp_path, prune[:order]).model
    words = np.arange(len(model.words))
    states = {model.begin, 0}
    for sentence in text(4, 20):
        state = np.array([model.begin])
        for word in sentence:
            _, state = model.score(state, np.array([model.id(word)]))
            states.add(int(state[0]))
    assert order == 1 or len(states) > 20
    for one in states:
        logs, _ = model.score(np.full(len(words), one), words)
        assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-5), one


def test_a_text_in_many_stretches_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counts.count(text(5), 4, tmp_path)
    monkeypatch.setattr(counts, "_STRETCH", 23)
    (tmp_path / "parts").mkdir()
    parts = counts.count(text(5), 4, tmp_path / "parts")
    for one, other in zip(whole.orders, parts.orders):
        for name in ("context", "word", "count", "suffix", "begins"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_text_that_is_too_small_gets_the_usual_discounts(tmp_path: Path) -> None:
    found = estimated([["a", "b"], ["a"]], 2, tmp_path)
    assert found.guessed == (1, 2) and found.discounts == (kneser_ney.FALLBACK,) * 2
    assert 0.4 < 10 ** log(found.model, ("<s>",), "a") < 1


def test_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no sentence"):
        counts.count([], 2, tmp_path)
