"""Names in any script: of data as a folder or list gives them, and as they are typed."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from asrctl.storage import names

from .test_prepare import corpus, plain_rows

HINDI, THAI, ARABIC = "हिन्दी", "ภาษาไทย", "عربيّ"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (HINDI, HINDI),
        (f"{THAI} 2026", f"{THAI}-2026"),
        (ARABIC, ARABIC),
        (unicodedata.normalize("NFD", "Zürich"), "Zürich"),
        ("a\u200bb\ufe0f", "a-b-"),
        ("\u0301x", "x"),
        ("x.y (1)", "x-y--1"),
    ],
)
def test_data_is_called_as_its_folder(asrctl, tmp_path: Path, workspace: Path, folder: str, name: str) -> None:
    made = corpus(tmp_path / "c", plain_rows(3), seconds=0.3)
    made = made.rename(made.with_name(f"{folder}.jsonl"))
    assert asrctl("prepare", "manifest", made, "--json").result["name"] == name.strip("-")
    assert name.strip("-") in asrctl("status").succeeded().stdout


@pytest.mark.parametrize("name", [HINDI, THAI, ARABIC, "é", "c++_1.0"])
def test_a_name_of_any_script_can_be_typed(asrctl, tmp_path: Path, name: str) -> None:
    made = corpus(tmp_path / "c", plain_rows(3), seconds=0.3)
    assert asrctl("prepare", "manifest", made, "--name", name, "--json").result["name"] == name
    assert asrctl("vocab", "manifest", made, "--name", name, "--json").result["name"] == name


@pytest.mark.parametrize(
    "name", ["", ".x", "-x", "\u0301x", "a b", "a/b", "a\u200bb", "a\ufe0f", "a\u034fb", "a:b", "ि"]
)
def test_what_no_file_system_takes_or_nobody_sees_is_no_name(name: str) -> None:
    assert not names.is_valid_name(name)


@pytest.mark.parametrize("stem", ["my preset!", "a  b", "हिन्दी (1)", "x.y"])
def test_a_preset_is_called_as_its_file(asrctl, tmp_path: Path, stem: str) -> None:
    (tmp_path / f"{stem}.yaml").write_text("extends: tiny-cpu\n", encoding="utf-8")
    shown = asrctl("presets", "show", tmp_path / f"{stem}.yaml", "--json").result["recipe"]["name"]
    assert shown == {"my preset!": "my-preset", "a  b": "a-b", "हिन्दी (1)": "हिन्दी-1", "x.y": "x.y"}[stem]
