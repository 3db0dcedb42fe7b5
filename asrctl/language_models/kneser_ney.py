"""Modified Kneser-Ney smoothing, interpolated (Chen and Goodman 1998, section 4.3), as KenLM's lmplz estimates it.

Heafield et al. 2013 ("Scalable modified Kneser-Ney language model estimation") says what lmplz does where the original
leaves a choice: n-grams that begin with <s> keep their counts in lower orders, single words are interpolated with the
uniform distribution over all words and <unk>, and what is pruned gives its mass to the back-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from asrctl.language_models.counts import NgramCounts, Order
from asrctl.language_models.ngram import NgramModel, Table
from asrctl.language_models.vocabulary import BOS_ID, UNK_ID

# Where a text is too small or too regular for the formula: lmplz's --discount_fallback.
FALLBACK = (0.5, 1.0, 1.5)
# log10 of what has no probability: nothing is followed by <s>.
_NEVER = -99.0


@dataclass(frozen=True)
class Estimated:
    """A model. discounts: of each order, for n-grams seen once, twice, and more often. guessed: the orders, from 1,
    whose discounts the text did not give, so that they are FALLBACK.
    """

    model: NgramModel
    discounts: Tuple[Tuple[float, float, float], ...]
    guessed: Tuple[int, ...]


def estimate(counts: NgramCounts, prune: Sequence[int] = ()) -> Estimated:
    """prune: for each order the count up to which its n-grams are left out, 0 for single words; the last one holds for
    the orders after it too.

    Raises ValueError where these fall from an order to the next, or name single words.
    """
    orders = counts.orders
    least = [*(prune or (0,)), *([max(prune, default=0)] * len(orders))][: len(orders)]
    if least[0] or any(low > high for low, high in zip(least, least[1:])):
        raise ValueError("prune must begin with 0 and never fall")
    adjusted = [_adjusted(orders, place) for place in range(len(orders))]
    found = [_discounts(values) for values in adjusted]
    discounts = tuple(FALLBACK if one is None else one for one in found)
    kept = [order.count > low for order, low in zip(orders, least)]
    kept[0][:] = True
    tables: List[Table] = []
    probabilities: List[np.ndarray] = []
    for place, order in enumerate(orders):
        below = probabilities[-1] if probabilities else None
        probability, gamma = _interpolated(order, adjusted[place], discounts[place], kept[place], below)
        probabilities.append(probability)
        if place:
            tables[-1].backoff[:] = gamma  # of the contexts, which are the n-grams of the order below
        keys = order.context * len(counts.words) + order.word
        tables.append(Table(keys, probability, np.ones(len(order)), order.suffix))
    guessed = tuple(place + 1 for place, one in enumerate(found) if one is None)
    rest = _without(tables, kept, len(counts.words))
    model = NgramModel(counts.words.listed(), [_in_logs(table) for table in rest])
    return Estimated(model, discounts, guessed)


def _adjusted(orders: Sequence[Order], place: int) -> np.ndarray:
    """(grams,) counts that the order is estimated from: below the highest, how many words come before an n-gram."""
    order = orders[place]
    if place + 1 == len(orders):
        values = order.count.copy()
    else:
        before = np.bincount(orders[place + 1].suffix, minlength=len(order))
        values = np.where(order.begins, order.count, before)
    if place == 0:
        values[[UNK_ID, BOS_ID]] = 0
    return values


def _discounts(adjusted: np.ndarray) -> Optional[Tuple[float, float, float]]:
    """D1, D2 and D3+ (Chen and Goodman 1998, equation 26); None where the counts do not give them."""
    n = np.bincount(adjusted[(adjusted > 0) & (adjusted < 5)], minlength=5).astype(np.float64)
    if not n[1:4].all():
        return None
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(float(k - (k + 1) * y * n[k + 1] / n[k]) for k in (1, 2, 3))
    return found if all(0 <= one <= k for k, one in enumerate(found, 1)) else None  # type: ignore[return-value]


def _interpolated(
    order: Order,
    adjusted: np.ndarray,
    discounts: Tuple[float, float, float],
    kept: np.ndarray,
    below: Optional[np.ndarray],
) -> Tuple[np.ndarray, np.ndarray]:
    """(probability of each n-gram, weight of the order below for each context). below: its probabilities."""
    contexts = len(below) if below is not None else 1
    weights = np.where(kept, adjusted, 0)
    bucket = np.minimum(weights, 3)
    discount = np.array([0.0, *discounts])[bucket]
    total = np.bincount(order.context, adjusted, contexts)
    left = np.bincount(order.context, discount + np.where(kept, 0, adjusted), contexts)
    gamma = np.divide(left, total, out=np.ones(contexts), where=total > 0)
    share = np.divide(weights - discount, total[order.context], out=np.zeros(len(order)), where=adjusted > 0)
    # Below single words lie all words and <unk> alike, without <s>.
    lower = np.full(len(order), 1.0 / (len(order) - 1)) if below is None else below[order.suffix]
    probability = share + gamma[order.context] * lower
    if below is None:
        probability[BOS_ID] = 0.0
    return probability, gamma


def _without(tables: Sequence[Table], kept: Sequence[np.ndarray], size: int) -> List[Table]:
    """The tables without what is pruned, their numbers put right. size: of the vocabulary.

    No n-gram is left without its context or suffix: these were counted at least as often. One that is a context no more
    has no back-off weight.
    """
    found: List[Table] = []
    number = np.zeros(1, dtype=np.int64)
    for place, (table, keep) in enumerate(zip(tables, kept)):
        context, word = np.divmod(table.keys[keep], size)
        suffix = number[table.suffix[keep]] if place else table.suffix[keep]
        backoff = table.backoff
        if place + 1 < len(tables):
            longer = tables[place + 1].keys[kept[place + 1]] // size
            backoff = np.where(np.bincount(longer, minlength=len(keep)) > 0, backoff, 1.0)
        found.append(Table(number[context] * size + word, table.log10[keep], backoff[keep], suffix))
        number = np.cumsum(keep) - 1
    return found


def _in_logs(table: Table) -> Table:
    with np.errstate(divide="ignore"):
        log10, backoff = np.log10(table.log10), np.log10(table.backoff)
    log10 = np.where(np.isfinite(log10), np.minimum(log10, 0.0), _NEVER).astype(np.float32)
    return Table(table.keys, log10, backoff.astype(np.float32), table.suffix)
