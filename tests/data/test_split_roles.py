"""Which utterance trains, which chooses, which tests; and who is held out where nobody says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from asrctl.data.corpora import find
from asrctl.data.split_roles import RoleFlags, Roles, assign, wanted_splits
from asrctl.data.utterance import Utterance, write_manifest
from asrctl.errors import BadData, UsageError


def corpus(speakers: Dict[Optional[str], int], split: str = "train") -> List[Utterance]:
    return [
        Utterance(f"{split}-{speaker}-{number}", "a.wav", "x", split, speaker=speaker)
        for speaker, count in speakers.items()
        for number in range(count)
    ]


def decide(folder: Path, utterances: List[Utterance], flags: RoleFlags = RoleFlags(), kind: str = "manifest") -> Roles:
    write_manifest(folder / "list.jsonl", utterances)
    counts = Counter(utterance.split for utterance in utterances)
    return assign(wanted_splits(find(kind), flags), folder / "list.jsonl", counts)


def by_role(roles: Roles, utterances: List[Utterance]) -> Dict[Optional[str], List[Utterance]]:
    found: Dict[Optional[str], List[Utterance]] = {}
    for utterance in utterances:
        found.setdefault(roles.of(utterance), []).append(utterance)
    return found


def test_splits_called_as_usual_have_their_roles(tmp_path: Path) -> None:
    everything = corpus({"a": 3}) + corpus({"b": 2}, "eval") + corpus({"c": 1}, "test") + corpus({"d": 1}, "other")
    found = by_role(decide(tmp_path, everything), everything)
    assert {role: {item.split for item in items} for role, items in found.items()} == {
        "train": {"train"},
        "eval": {"eval"},
        "test": {"test"},
        None: {"other"},
    }


def test_flags_name_the_splits(tmp_path: Path) -> None:
    everything = corpus({"a": 3}, "one") + corpus({"b": 2}, "two") + corpus({"c": 1}, "train")
    roles = decide(tmp_path, everything, RoleFlags(train=("one", "train"), eval=("two",)))
    assert {role: len(items) for role, items in by_role(roles, everything).items()} == {"train": 4, "eval": 2}


def test_synonyms_are_understood(tmp_path: Path) -> None:
    wanted = wanted_splits(find("manifest"), RoleFlags(train=("Training",), eval=("dev", "validation")))
    assert wanted.by_role["eval"] == ("eval",)
    assert wanted.required == ("train", "eval")


def test_a_split_has_one_role_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        wanted_splits(find("librispeech"), RoleFlags(train=("dev-clean",), eval=("validation",)))
    wanted = wanted_splits(find("librispeech"), RoleFlags(train=("dev-clean",)))
    assert wanted.by_role["eval"] == ()


def test_a_named_split_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no utterance in split dev.2 .it has train"):
        decide(tmp_path, corpus({"a": 3}), RoleFlags(eval=("dev.2",)))
    with pytest.raises(BadData, match="no utterance in split train .it has test"):
        decide(tmp_path, corpus({"a": 3}, "test"), RoleFlags(train=("train",)))


@pytest.mark.parametrize("splits", [("test",), ("eval",), ("eval", "test")])
def test_a_corpus_without_training_is_for_evaluation_and_never_split(tmp_path: Path, splits: Tuple[str, ...]) -> None:
    everything = [item for split in splits for item in corpus({"a": 30}, split)]
    roles = decide(tmp_path, everything)
    found = by_role(roles, everything)
    assert {role: len(items) for role, items in found.items()} == dict.fromkeys(splits, 30)
    assert "evaluation only" in str(roles.note) and roles.lost is None


def test_all_of_a_corpus_can_be_named_for_the_test(tmp_path: Path) -> None:
    everything = corpus({"a": 30})
    roles = decide(tmp_path, everything, RoleFlags(test=("train",)))
    assert {role: len(items) for role, items in by_role(roles, everything).items()} == {"test": 30}


@pytest.mark.parametrize(
    ("other", "flags"), [("trian", RoleFlags()), ("trian", RoleFlags(test=("test",))), ("recordings", RoleFlags())]
)
def test_a_training_split_of_another_name_is_not_passed_over(tmp_path: Path, other: str, flags: RoleFlags) -> None:
    with pytest.raises(BadData, match="no utterance in split train|not used"):
        decide(tmp_path, corpus({"a": 30}, other) + corpus({"b": 3}, "test"), flags)


def test_whoever_names_a_test_split_among_others_may_have_only_that(tmp_path: Path) -> None:
    everything = corpus({"a": 30}, "recordings") + corpus({"b": 3}, "test")
    roles = decide(tmp_path, everything, RoleFlags(test=("test",)))
    assert (roles.names, roles.unused) == (["test"], {"recordings": 30})


def test_whole_speakers_are_held_out_where_they_make_a_tenth(tmp_path: Path) -> None:
    everything = corpus({f"speaker{number}": 10 for number in range(20)})
    roles = decide(tmp_path, everything)
    found = by_role(roles, everything)
    assert len(found["eval"]) == 20
    assert not {item.speaker for item in found["eval"]} & {item.speaker for item in found["train"]}
    assert "all those of 2 speakers" in str(roles.note)


def test_large_speakers_are_passed_over(tmp_path: Path) -> None:
    everything = corpus({"large": 500, **{f"small{number}": 20 for number in range(25)}})
    held = by_role(decide(tmp_path, everything), everything)["eval"]
    assert len(held) == 100
    assert "large" not in {item.speaker for item in held}


@pytest.mark.parametrize(
    "speakers", [{f"s{number}": 450 for number in range(5)}, {None: 200}, {None: 100, "a": 50, "b": 50}, {"a": 40}]
)
def test_else_a_tenth_is_drawn(tmp_path: Path, speakers: Dict[Optional[str], int]) -> None:
    everything = corpus(speakers)
    roles = decide(tmp_path, everything)
    found = by_role(roles, everything)
    assert len(found["eval"]) == round(len(everything) / 10)
    assert "drawn at random" in str(roles.note)
    assert {item.id for item in by_role(decide(tmp_path, everything[::-1]), everything)["eval"]} == {
        item.id for item in found["eval"]
    }


def test_the_test_split_is_never_used_to_choose(tmp_path: Path) -> None:
    everything = corpus({f"speaker{number}": 10 for number in range(20)}) + corpus({"t": 50}, "test")
    found = by_role(decide(tmp_path, everything), everything)
    assert {item.split for item in found["eval"]} == {"train"}
    assert len(found["test"]) == 50


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (9, 1), (15, 2)])
def test_small_corpora(tmp_path: Path, count: int, held: int) -> None:
    everything = corpus({None: count})
    roles = decide(tmp_path, everything)
    assert len(by_role(roles, everything).get("eval", [])) == held
    assert roles.note


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("trian", "train"),
        ("Trainn", "train"),
        ("dve", "dev"),
        ("evla", "eval"),
        ("tset", "test"),
        ("vaild", "valid"),
        ("other", None),
        ("validated", None),
        ("Dialect 3", None),
    ],
)
def test_a_split_without_a_role_is_told_with_what_was_meant(tmp_path: Path, name: str, meant: Optional[str]) -> None:
    roles = decide(tmp_path, corpus({"a": 30}) + corpus({"b": 2}, name))
    assert roles.unused == {name: 2}
    assert str(roles.lost).startswith("2 of 32 utterances are not used")
    assert (f"did you mean {meant}?" in str(roles.lost)) == bool(meant)
    assert ("did you mean" in str(roles.lost)) == bool(meant)


def test_whoever_names_splits_knows_the_others(tmp_path: Path) -> None:
    everything = corpus({"a": 30}, "alpha") + corpus({"b": 2}, "beta")
    assert decide(tmp_path, everything, RoleFlags(train=("alpha",))).lost is None
    everything += corpus({"b": 2}, "train")
    assert decide(tmp_path, everything, RoleFlags(train=("alpha",))).lost is None
    everything += corpus({"b": 2}, "alhpa")
    told = str(decide(tmp_path, everything, RoleFlags(train=("alpha",))).lost)
    assert "alhpa (2; did you mean alpha?), beta (2), train (2);" in told


def test_splits_that_all_have_a_role_are_not_spoken_of(tmp_path: Path) -> None:
    everything = corpus({"a": 30}) + corpus({"b": 2}, "eval") + corpus({"c": 1}, "test")
    roles = decide(tmp_path, everything)
    assert (roles.unused, roles.lost) == ({}, None)
    many = decide(tmp_path, everything + [item for n in range(300) for item in corpus({"d": 1}, f"part {n}")])
    assert len(str(many.lost)) < 500 and "and 290 more" in str(many.lost)
