"""Words become labels: in the model's case and by its rules, and what it can not write is counted, never guessed."""

from __future__ import annotations

import pytest

from asrctl.alignment.spelling import Speller
from asrctl.data.text import TextRules, Vocabulary

UPPER = Vocabulary(tuple("|'ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ("[UNK]", "[PAD]"))
LOWER = Vocabulary(tuple("|abcdefghijklmnopqrstuvwxyz") + ("[UNK]", "[PAD]"))


def spelled(speller, text):
    tokens = speller._vocabulary.tokens
    return {word.text: "".join(tokens[label] for label in word.labels) for word in speller(text)}


@pytest.mark.parametrize("text", ["don’t stop", "DON'T STOP", "Don`t Stop!"])
def test_another_case_and_other_apostrophes_are_the_models_own(text):
    speller = Speller(UPPER, None)
    assert list(spelled(speller, text).values()) == ["DON'T", "STOP"]
    assert not speller.unknown


def test_signs_are_not_said_and_hyphens_part_words():
    found = spelled(Speller(LOWER, None), "“Well-known” — and/or (café) ...")
    assert found == {"“Well-known”": "well|known", "—": "", "and/or": "and|or", "(café)": "cafe", "...": ""}


def test_what_the_model_can_not_write_is_counted():
    speller = Speller(UPPER, None)
    assert spelled(speller, "In 1984 шёл") == {"In": "IN", "1984": "", "шёл": ""}
    assert speller.unknown == {"1": 1, "9": 1, "8": 1, "4": 1, "ш": 1, "ё": 1, "л": 1}
    assert speller.letters == 9


def test_the_rules_of_training_hold():
    rules = TextRules(case="upper", replace={"1984": "nineteen eighty four", "Dr.": "doctor"})
    assert spelled(Speller(UPPER, rules), "Dr. No") == {"Dr.": "DOCTOR", "No": "NO"}
    assert list(spelled(Speller(UPPER, rules), "In 1984").values()) == ["IN", "NINETEEN|EIGHTY|FOUR"]


def test_a_german_sharp_s_is_two_letters_to_a_model_of_capitals():
    assert spelled(Speller(UPPER, None), "Straße") == {"Straße": "STRASSE"}
