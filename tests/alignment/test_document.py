"""A recording and its text: what was said is found, and so is what only one of the two has.

The log-probabilities are made, so that it is known what they say and when.
"""

from __future__ import annotations

import numpy as np
import pytest

from asrctl.alignment import document, heard
from asrctl.alignment.document import Span
from asrctl.alignment.spelling import Word

BLANK, DELIMITER = 0, 1
LABELS = 12


class Recording:
    """Log-probabilities of labels that are said: two frames each, and one of blank behind it."""

    def __init__(self, seed=0, *, wrong=0.0):
        self._generator, self._wrong = np.random.default_rng(seed), wrong
        self.frames = []

    def __len__(self):
        return len(self.frames)

    def pause(self, frames):
        self.frames += [BLANK] * frames

    def say(self, words):
        """Frames (first, last) of each word."""
        spans = []
        for number, word in enumerate(words):
            if number:
                self.frames += [DELIMITER, BLANK]
            first = len(self.frames)
            for label in word:
                is_wrong = self._generator.random() < self._wrong
                label = int(self._generator.integers(2, LABELS)) if is_wrong else label
                self.frames += [label, label, BLANK]
            spans.append(Span(first, len(self.frames) - 2))
        return spans

    def parts(self):
        logits = self._generator.normal(0, 0.5, (len(self.frames), LABELS))
        logits[np.arange(len(logits)), self.frames] += 7.0
        log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
        for first in range(0, len(log_probs), 700):
            yield log_probs[first : first + 700], np.zeros(1)


def some_words(generator, count=6):
    return [tuple(generator.integers(2, LABELS, generator.integers(2, 6)).tolist()) for _ in range(count)]


def aligned(recording, utterances):
    spelled = [[Word("", word) for word in words] for words in utterances]
    with heard.kept(recording.parts(), document.asked_for(spelled, BLANK, DELIMITER)) as sound:
        return document.align(sound, spelled, BLANK, DELIMITER)


def test_each_word_is_found_where_it_is_said():
    generator, recording = np.random.default_rng(1), Recording()
    utterances = [some_words(generator) for _ in range(20)]
    truth = []
    for words in utterances:
        recording.pause(int(generator.integers(5, 60)))
        truth.append(recording.say(words))
    found = aligned(recording, utterances)
    assert [list(said.words) for said in found.said] == truth
    assert [said.span for said in found.said] == [Span(spans[0].first, spans[-1].last) for spans in truth]
    assert not found.unwritten
    assert min(said.score for said in found.said) > -0.3
    assert all(confidence > 0.8 for said in found.said for confidence in said.confidences)


@pytest.mark.parametrize("wrong", [0.0, 0.25])
def test_what_is_left_out_said_twice_or_not_written_is_found_also_by_a_model_that_mishears(wrong):
    generator, recording = np.random.default_rng(2), Recording(wrong=wrong)
    utterances = [some_words(generator) for _ in range(60)]
    truth, unwritten = {}, []
    for number, words in enumerate(utterances):
        if number in (0, 7, *range(20, 30), 58, 59):  # a heading, a sentence, a page, the end
            continue
        recording.pause(20)
        truth[number] = recording.say(words)
        if number in (3, 40):  # something else, or the same again
            recording.pause(20)
            spans = recording.say(words if number == 3 else some_words(generator))
            unwritten.append(Span(spans[0].first, spans[-1].last))
    recording.pause(20)
    found = aligned(recording, utterances)
    assert {number for number, said in enumerate(found.said) if said is not None} == set(truth)
    for number, spans in truth.items():
        said = found.said[number].span
        if number == 3:  # either time is right
            assert min(abs(said.first - first) for first in (spans[0].first, unwritten[0].first)) <= 6
        else:
            near = 15 if wrong else 3
            assert abs(said.first - spans[0].first) <= near and abs(said.last - spans[-1].last) <= near
    long = [span for span in found.unwritten if span.last - span.first > 30]  # misheard edges are some labels long
    assert len(long) == 2 and (wrong or len(found.unwritten) == 2)
    assert abs(long[1].first - unwritten[1].first) <= 6 and abs(long[1].last - unwritten[1].last) <= 6


def test_the_score_shows_where_the_text_is_not_what_is_said():
    generator, recording = np.random.default_rng(4), Recording()
    utterances = [some_words(generator, 12) for _ in range(10)]
    for number, words in enumerate(utterances):
        recording.pause(20)
        recording.say(words if number != 5 else [*words[:9], *some_words(generator, 3)])
    scores = [said.score for said in aligned(recording, utterances).said]
    assert int(np.argmin(scores)) == 5
    assert scores[5] < -2 < sorted(scores)[1]


def test_an_utterance_without_labels_is_not_said():
    generator, recording = np.random.default_rng(5), Recording()
    words = some_words(generator)
    recording.say(words)
    found = aligned(recording, [[()], words, [(), ()]])
    assert [said is None for said in found.said] == [True, False, True]


def test_the_lowest_mean_is_that_of_thirty_frames():
    assert document.lowest_mean(np.array([-1.0, -3.0])) == -2.0
    logs = np.concatenate([np.zeros(100), np.full(30, -1.0), np.zeros(100)])
    assert document.lowest_mean(logs) == pytest.approx(-1.0)
