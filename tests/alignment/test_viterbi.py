"""The likeliest path is what a search through all paths finds, with and without what may be left out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from asrctl.alignment import viterbi
from asrctl.alignment.viterbi import Chain

BLANK = 0


def random_log_probs(generator, frames, labels, *, spread=3.0):
    logits = generator.normal(0, spread, (frames, labels))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def said(path, labels):
    """The label of each frame of a path."""
    padded = np.append(labels, BLANK)
    return np.where(path % 2 == 1, padded[np.minimum(path // 2, len(labels))], BLANK)


def collapsed(said):
    """What a path of labels means: repeats and blanks fall away."""
    return [label for label, _ in itertools.groupby(said) if label != BLANK]


def best_of_all(log_probs, labels):
    """The score of the best of all paths that mean these labels; -inf where there is none."""
    frames, kinds = log_probs.shape
    paths = itertools.product(range(kinds), repeat=frames)
    scores = [log_probs[range(frames), path].sum() for path in paths if collapsed(path) == list(labels)]
    return max(scores, default=-np.inf)


@pytest.mark.parametrize("seed", range(40))
def test_the_path_is_the_best_of_all_paths(seed):
    generator = np.random.default_rng(seed)
    log_probs = random_log_probs(generator, int(generator.integers(1, 8)), 3)
    labels = generator.integers(1, 3, int(generator.integers(1, 4)))
    best = best_of_all(log_probs, labels)
    if np.isfinite(best):
        path = viterbi.align(log_probs, viterbi.plain(labels), BLANK, block=int(generator.integers(1, 5)))
        assert collapsed(said(path, labels)) == list(labels)
        assert log_probs[range(len(path)), said(path, labels)].sum() == pytest.approx(best)
    else:
        assert len(log_probs) < viterbi.least_frames(labels)
        with pytest.raises(ValueError, match="do not fit"):
            viterbi.align(log_probs, viterbi.plain(labels), BLANK)


def test_equal_neighbors_have_a_blank_between_them_however_unlikely():
    log_probs = np.log(np.array([[0.01, 0.99]] * 5))
    path = viterbi.align(log_probs, viterbi.plain([1, 1, 1]), BLANK)
    assert said(path, [1, 1, 1]).tolist() == [1, 0, 1, 0, 1]


def test_torchaudio_finds_paths_as_good():
    import torch

    try:
        from torchaudio import functional
    except (ImportError, OSError) as error:  # it is there for another torch
        pytest.skip(f"torchaudio can not be loaded: {error}")
    for seed in range(20):
        generator = np.random.default_rng(seed)
        frames = int(generator.integers(20, 400))
        labels = np.repeat(generator.integers(1, 30, frames // 8), generator.integers(1, 3))
        log_probs = random_log_probs(generator, frames, 30).astype(np.float32)
        theirs, _ = functional.forced_align(torch.tensor(log_probs)[None], torch.tensor(labels)[None], blank=BLANK)
        ours = said(viterbi.align(log_probs, viterbi.plain(labels), BLANK), labels)
        scores = [log_probs[range(frames), each].sum(dtype=np.float64) for each in (ours, theirs[0].numpy())]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def chain_of(generator, sentences):
    """A chain of sentences between stars."""
    lengths = generator.integers(1, 5, sentences)
    return Chain(
        labels=generator.integers(1, 5, lengths.sum()),
        stars=np.concatenate([[0], np.cumsum(lengths)]),
        heard=1.5,
        left_out=2.0 * lengths,
        jump=6.0,
        quiet=(4,),
    )


def by_definition(log_probs, chain):
    """The best score of all ways through a chain: state by state and move by move, as the class describes it."""
    relative = log_probs - log_probs.max(axis=1, keepdims=True)
    stars, labels, last = chain.stars.tolist(), chain.labels, len(chain.labels)

    def jumps(state):
        """(state, price) of what lies beyond the texts that are left out."""
        if state % 2 or state // 2 not in stars:
            return []
        at = stars.index(state // 2)
        return [(2 * stars[to], min(chain.left_out[at:to].sum(), chain.jump)) for to in range(at + 1, len(stars))]

    def moves(state):
        yield from ((state, 0.0), (state + 1, 0.0), *jumps(state))
        if state % 2 and state // 2 + 1 < last and labels[state // 2] != labels[state // 2 + 1]:
            yield state + 2, 0.0

    scores = {0: 0.0}
    for row in relative:
        found = {}
        for state, score in scores.items():
            for to, price in moves(state):
                if to > 2 * last:
                    continue
                sound = row[labels[to // 2]] if to % 2 else row[BLANK]
                if to % 2 == 0 and to // 2 in stars:
                    sound = max(row[BLANK], row[4], -chain.heard)
                found[to] = max(found.get(to, -np.inf), score + sound - price)
        scores = found
    ends = [score - price for state, score in scores.items() for to, price in jumps(state) if to == 2 * last]
    return max([scores.get(2 * last, -np.inf), scores.get(2 * last - 1, -np.inf), *ends])


def score_of(path, log_probs, chain):
    """What a path through a chain costs; fails where it makes a move that there is not."""
    relative = log_probs - log_probs.max(axis=1, keepdims=True)
    stars, total = chain.stars.tolist(), 0.0
    for row, state in zip(relative, path.tolist()):
        is_star = state % 2 == 0 and state // 2 in stars
        quiet = max(row[BLANK], row[4], -chain.heard) if is_star else row[BLANK]
        total += row[chain.labels[state // 2]] if state % 2 else quiet
    for before, after in zip([0, *path.tolist()], [*path.tolist(), 2 * len(chain.labels)]):
        is_jump = before % 2 == 0 and after % 2 == 0 and before < after
        if is_jump:
            at, to = stars.index(before // 2), stars.index(after // 2)
            total -= min(chain.left_out[at:to].sum(), chain.jump)
        elif after < 2 * len(chain.labels):
            assert 0 <= after - before <= 2, (before, after)
    return total


@pytest.mark.parametrize("seed", range(30))
def test_with_stars_the_path_is_the_best_of_all_ways_through_the_chain(seed):
    generator = np.random.default_rng(seed)
    chain = chain_of(generator, int(generator.integers(1, 6)))
    log_probs = random_log_probs(generator, int(generator.integers(2, 40)), 5)
    path = viterbi.align(log_probs, chain, BLANK, block=int(generator.integers(1, 12)))
    assert score_of(path, log_probs, chain) == pytest.approx(by_definition(log_probs, chain))


def heard(labels, generator, kinds=6):
    """Log-probabilities in which labels are heard clearly, each for two frames, with a blank after it."""
    said = np.stack([labels, labels, np.zeros_like(labels)], axis=1).reshape(-1)
    log_probs = random_log_probs(generator, len(said), kinds, spread=0.5)
    log_probs[range(len(said)), said] += 6.0
    return log_probs - np.log(np.exp(log_probs).sum(axis=1, keepdims=True))


def test_a_narrow_window_finds_the_same_and_memory_grows_with_it_alone():
    generator = np.random.default_rng(3)
    sentences = [generator.integers(1, 6, 20) for _ in range(60)]
    spoken = [*sentences[:10], *sentences[14:30], generator.integers(1, 6, 40), *sentences[30:]]  # and one not written
    chain = Chain(
        labels=np.concatenate(sentences),
        stars=np.arange(0, 1201, 20),
        heard=1.0,
        left_out=np.full(60, 20.0),
        jump=40.0,
    )
    log_probs = heard(np.concatenate(spoken), generator).astype(np.float32)
    wide = viterbi.align(log_probs, chain, BLANK)
    narrow = viterbi.align(log_probs, chain, BLANK, window=200, beam=100.0, block=64)
    assert (wide == narrow).all()
    found = {state // 2 // 20 for state in wide.tolist() if state % 2}
    assert found == set(range(60)) - {10, 11, 12, 13}
    frames = np.flatnonzero(wide == 2 * 600)  # in the star before sentence 30
    assert len(frames) == pytest.approx(3 * 40, abs=6)
