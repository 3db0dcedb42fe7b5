"""A text becomes utterances: its lines, or its sentences; auto goes by how it is written."""

from __future__ import annotations

import pytest

from asrctl.alignment import sentences

BOOK = """CHAPTER I.

Down the Rabbit-Hole

Alice was beginning to get very tired of sitting by her sister on the
bank. "And what is the use of a book," thought Alice "without pictures?"
So she asked Mr. Brown ... and J. Smith. "Why?" he asked. "Oh dear!" She ran.
"""


def texts(text, by="auto"):
    found, chosen = sentences.split(text, by)
    return chosen, [sentence.text for sentence in found]


def test_a_book_is_taken_by_sentences_and_its_headings_stay_alone():
    chosen, found = texts(BOOK)
    assert chosen == "sentences"
    assert found == [
        "CHAPTER I.",
        "Down the Rabbit-Hole",
        "Alice was beginning to get very tired of sitting by her sister on the bank.",
        '"And what is the use of a book," thought Alice "without pictures?"',
        "So she asked Mr. Brown ... and J. Smith.",
        '"Why?" he asked.',
        '"Oh dear!"',
        "She ran.",
    ]
    assert [sentence.line for sentence in sentences.split(BOOK, "auto")[0]] == [1, 3, 5, 6, 7, 7, 7, 7]


@pytest.mark.parametrize("text", ["HELLO WORLD\n\nthis is\nA TEST\n", "Hello world.\nThis is it!\n\nA test.\n"])
def test_lines_without_marks_or_that_end_sentences_are_taken_as_they_are(text):
    assert texts(text) == ("lines", text.split("\n\n")[0].splitlines() + text.split("\n\n")[1].splitlines())


def test_how_to_take_it_can_be_said():
    assert texts("One. Two.\nThree.", "lines") == ("lines", ["One. Two.", "Three."])
    assert texts("One. Two.\nThree", "sentences") == ("sentences", ["One.", "Two.", "Three"])
    assert texts("我是，你好。他来了！", "sentences")[1] == ["我是，你好。", "他来了！"]


def test_a_text_without_any_mark_is_cut_into_utterances_that_fit_into_training():
    words = [f"w{number}" for number in range(185)]
    _, found = texts(" ".join(words))
    assert " ".join(found).split() == words
    assert max(len(text.split()) for text in found) <= 40
    assert min(len(text.split()) for text in found) >= 8


def test_long_sentences_are_cut_at_commas():
    text = " ".join(["a"] * 29 + ["b,"] + ["c"] * 30) + "."
    assert texts(text, "sentences")[1] == [" ".join(["a"] * 29 + ["b,"]), " ".join(["c"] * 30) + "."]


def test_nothing_is_nothing():
    assert texts(" \n\t\n") == ("lines", [])
