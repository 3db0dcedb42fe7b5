"""Error rates, their uncertainty and the worst utterances."""

from __future__ import annotations

import json

import numpy as np
import pytest

from asrctl.evaluation import metrics
from asrctl.storage import records


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [
        ("the cat sat", "the cat sat", metrics.Edits(hits=3)),
        ("the cat sat", "the bat", metrics.Edits(hits=1, substitutions=1, deletions=1)),
        ("the cat", "oh the cat oh", metrics.Edits(hits=2, insertions=2)),
        ("the cat", "", metrics.Edits(deletions=2)),
        ("", "", metrics.Edits()),
        ("", "oh no", metrics.Edits(insertions=2)),
        ("  ", "oh", metrics.Edits(insertions=1)),
        ("a  b", "a b", metrics.Edits(hits=2)),
    ],
)
def test_words_are_counted(reference, hypothesis, edits):
    assert metrics.word_edits(reference, hypothesis) == edits


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [
        ("ab c", "abc", metrics.Edits(hits=3, deletions=1)),
        ("", "a b", metrics.Edits(insertions=3)),
        ("über", "uber", metrics.Edits(hits=3, substitutions=1)),
        ("ab c", "ab  c ", metrics.Edits(hits=4)),
    ],
)
def test_characters_are_counted_with_the_space(reference, hypothesis, edits):
    assert metrics.character_edits(reference, hypothesis) == edits


def test_edits_equal_a_plain_dynamic_program():
    generator = np.random.default_rng(0)
    for _ in range(50):
        reference = " ".join(generator.choice(list("abcd"), generator.integers(0, 8)))
        hypothesis = " ".join(generator.choice(list("abcd"), generator.integers(0, 8)))
        edits = metrics.word_edits(reference, hypothesis)
        assert edits.errors == levenshtein(reference.split(), hypothesis.split())
        assert edits.units == len(reference.split())


def levenshtein(left, right):
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row = row, [i]
        for j, b in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


def test_a_corpus_rate_is_errors_over_words_not_a_mean_of_rates():
    assert metrics.word_error_rate(["a", "a b c d e f g h i"], ["x", "a b c d e f g h i"]) == pytest.approx(0.1)


def test_a_corpus_of_empty_references_has_a_finite_rate():
    assert metrics.word_error_rate(["", ""], ["", ""]) == 0.0
    assert metrics.word_error_rate(["", ""], ["", "oh no"]) == 2.0


def test_texts_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        metrics.word_error_rate(["a", "b"], ["a"])


def test_aligned_lines_put_words_below_each_other():
    assert metrics.aligned_lines("the big cat sat down", "the cat sit down now") == [
        ("the big cat sat down ***", "the *** cat sit down now")
    ]
    assert metrics.aligned_lines("", "oh") == [("**", "oh")]
    assert metrics.aligned_lines("oh", "") == [("oh", "**")]
    assert metrics.aligned_lines("", "") == []


def test_aligned_lines_are_folded_and_long_words_cut():
    lines = metrics.aligned_lines("one two three four", "one to three " + "x" * 50, width=12)
    assert lines == [("one two", "one to"), ("three four", "three xxxxx\u2026")]
    assert all(len(line) <= 12 for pair in lines for line in pair)


def test_the_interval_covers_the_rate_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered, tries, truth = 0, 200, 0.2
    for _ in range(tries):
        words = generator.integers(3, 20, 60)
        errors = generator.binomial(words, truth)
        low, high = metrics.bootstrap_interval(errors, words, replicates=200)
        covered += low <= truth <= high
    # 95 % of 200 is 190 with a standard deviation of 3; a percentile bootstrap of 60 utterances is a little narrow.
    assert 178 <= covered <= 199


def test_the_interval_is_the_same_each_time_and_none_for_one_utterance():
    errors, words = np.arange(30) % 4, np.full(30, 9)
    assert metrics.bootstrap_interval(errors, words) == metrics.bootstrap_interval(errors, words)
    assert metrics.bootstrap_interval(errors[:1], words[:1]) is None
    assert metrics.bootstrap_interval(np.zeros(5, int), np.full(5, 3)) == (0.0, 0.0)
    assert metrics.bootstrap_interval(np.zeros(5, int), np.zeros(5, int)) == (0.0, 0.0)


def test_the_tally_does_not_depend_on_the_order():
    references = ["one two three", "four", "", "five six", "seven eight nine ten"]
    hypotheses = ["one too three", "four", "oh", "", "seven"]
    summaries = []
    for order in ([0, 1, 2, 3, 4], [3, 1, 4, 0, 2]):
        tally = metrics.Tally(5, worst=2)
        for index in order:
            tally.add(index, f"u{index}", references[index], hypotheses[index])
        summaries.append(tally.scores())
    assert summaries[0] == summaries[1]
    summary = summaries[0]
    assert summary.wer == pytest.approx(7 / 10)
    assert (summary.substitutions, summary.deletions, summary.insertions) == (1, 5, 1)
    assert (summary.words, summary.utterances, summary.correct_utterances) == (10, 5, 1)
    assert (summary.empty_references, summary.empty_hypotheses) == (1, 1)
    assert [row.id for row in summary.worst] == ["u4", "u3"]
    assert summary.wer_interval[0] <= summary.wer <= summary.wer_interval[1]
    json.dumps(records.as_dict(summary), allow_nan=False)


def test_an_empty_split_has_a_summary_too():
    summary = metrics.Tally(0).scores()
    assert (summary.wer, summary.cer, summary.wer_interval, summary.worst) == (0.0, 0.0, None, ())


def test_a_derangement_moves_everything():
    for count in (2, 3, 7, 100):
        places = metrics.derangement(count, seed=count)
        assert sorted(places) == list(range(count))
        assert not np.any(places == np.arange(count))
    with pytest.raises(ValueError, match="nothing"):
        metrics.derangement(1, seed=0)
