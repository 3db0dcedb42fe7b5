"""Transcript -> the text that is learned -> label ids, and back."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrctl.data.text import CASES, TextRules, Vocabulary, build_vocabulary
from asrctl.errors import BadData, UsageError

TEXTS = st.text(max_size=40)
RULES = st.builds(TextRules, case=st.sampled_from(CASES), remove=st.text(alphabet=".,?!aÄßİé'", max_size=5))
quickly = settings(max_examples=150)


@quickly
@given(TEXTS, RULES)
def test_what_is_learned_has_single_spaces_no_delimiter_and_is_nfc(text, rules):
    learned = rules.apply(text)
    assert learned == " ".join(learned.split())
    assert "|" not in learned
    assert unicodedata.is_normalized("NFC", learned)


@quickly
@given(TEXTS, RULES)
def test_rules_applied_twice_are_rules_applied_once(text, rules):
    once = rules.apply(text)
    assert rules.apply(once) == once


@quickly
@given(TEXTS, RULES)
def test_what_the_rules_say_of_themselves_makes_the_same_rules(text, rules):
    """They are stored with prepared data, and read again where a run is to fit it."""
    again = TextRules(**rules.as_dict())
    assert again.apply(text) == rules.apply(text)
    assert again.as_dict() == rules.as_dict()


@pytest.mark.parametrize(
    ("rules", "text", "learned"),
    [
        ({}, "  Ein\tTag \n", "ein tag"),
        ({"case": "upper"}, "Straße", "STRASSE"),
        ({"case": "keep"}, "Ein Tag", "Ein Tag"),
        ({}, "e\u0301t\u00e9", "\u00e9t\u00e9"),  # decomposed and composed
        ({}, "a|b", "a b"),
        ({"case": "upper"}, "\u0390", "\u03aa\u0301"),  # its capital comes in three parts, of which two are one letter
        ({"word_delimiter": "_"}, "a|b_c", "a|b c"),
        ({"remove": ".,"}, "no, nothing.", "no nothing"),
        ({"remove": "A"}, "aAb", "b"),
        ({"remove": "A", "case": "keep"}, "aAb", "ab"),
        ({"remove": "\u00df", "case": "upper"}, "wei\u00df ss", "WEI SS"),
        ({"remove": "-"}, "well - known", "well known"),
    ],
)
def test_examples(rules, text, learned):
    assert TextRules(**rules).apply(text) == learned


@pytest.mark.parametrize(
    "rules",
    [{"case": "title"}, {"word_delimiter": " "}, {"word_delimiter": "||"}, {"unk": "|"}, {"unk": "[PAD]"}, {"pad": ""}],
)
def test_rules_that_can_not_be(rules):
    with pytest.raises(UsageError):
        TextRules(**rules)


# -- vocabulary -------------------------------------------------------------------------------------------------------


def vocabulary(text: str) -> Vocabulary:
    return build_vocabulary(Counter(text), TextRules())


def test_a_vocabulary_is_the_characters_in_order_with_the_delimiter_in_the_place_of_the_space():
    assert vocabulary("cab a'b").tokens == ("|", "'", "a", "b", "c", "[UNK]", "[PAD]")
    assert vocabulary("ab").tokens == ("|", "a", "b", "[UNK]", "[PAD]")
    with pytest.raises(UsageError):
        build_vocabulary({"x": 1}, TextRules(unk="x"))


@quickly
@given(st.text(alphabet="abcé' ", max_size=30))
def test_labels_lead_back_to_the_text(text):
    """With a blank between two equal labels, as CTC needs it; repeats and blanks more change nothing."""
    text = TextRules().apply(text)
    known = vocabulary("abcé' ")
    labels, unknown = known.encoder()(text)
    assert not unknown and len(labels) == len(text)
    frames = [frame for label in labels for frame in (label, label, known.blank_id)]
    assert known.decode(frames) == text


def test_equal_labels_without_a_blank_between_them_are_one():
    known = vocabulary("ab")
    a, b, blank = known.ids["a"], known.ids["b"], known.blank_id
    assert known.decode([blank, a, a, b, blank, b, blank]) == "abb"
    assert known.decode([blank]) == known.decode([]) == ""


def test_unknown_characters_are_counted_and_get_the_unknown_label():
    known = vocabulary("ab")
    assert known.encoder()("aéb é") == ([1, 3, 2, 0, 3], {"é": 2})
    without = Vocabulary(("|", "a", "[PAD]"), unk=None)
    assert without.encoder()("aéa") == ([1, 1], {"é": 1})


def test_a_vocabulary_that_was_saved_is_read_as_it_was(tmp_path):
    for saved in (
        vocabulary("ab é"),
        Vocabulary(("a", "[PAD]"), word_delimiter=None, unk=None),
        Vocabulary(("|", "A", "[UNK]", "[PAD]"), lower_case=True),
    ):
        saved.save(tmp_path)
        assert Vocabulary.load(tmp_path) == saved


def test_a_vocabulary_of_capitals_that_stand_for_small_letters():
    known = Vocabulary(("|", "A", "B", "[UNK]", "[PAD]"), lower_case=True)
    assert known.encoder()("ab a") == ([1, 2, 0, 1], {})
    assert known.decode([1, 4, 2]) == "ab"


def test_the_digest_tells_vocabularies_apart():
    made = [
        vocabulary("ab"),
        vocabulary("abc"),
        Vocabulary(("|", "b", "a", "[UNK]", "[PAD]")),
        Vocabulary(("|", "a", "b", "[UNK]", "[PAD]"), word_delimiter=None),
    ]
    assert len({known.digest for known in made}) == len(made)
    assert vocabulary("ba").digest == vocabulary("ab").digest


@pytest.mark.parametrize(
    ("tokens", "said"), [(("|", "a", "a", "[UNK]", "[PAD]"), "'a' twice"), (("a", "[PAD]"), "no '|', '[UNK]'")]
)
def test_a_vocabulary_that_can_not_be(tokens, said):
    with pytest.raises(BadData, match=said.replace("|", r"\|").replace("[", r"\[")):
        Vocabulary(tokens)
