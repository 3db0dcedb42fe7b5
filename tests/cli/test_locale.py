"""File names mean the same in every locale: in a list they are UTF-8, on disk they are bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

NAMES = ("größe", "数据", "naïve 🎤")
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with locales that are not UTF-8, made from the system's own definitions."""
    folder = tmp_path_factory.mktemp("locales")
    for language, encoding in (("de_DE", "ISO-8859-1"), ("ja_JP", "EUC-JP")):
        words = ["localedef", "-i", language, "-f", encoding, str(folder / f"{language}.{encoding}")]
        if shutil.which("localedef") is None or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("localedef makes no locale here")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings under names of several alphabets, and a list of them."""
    folder = tmp_path_factory.mktemp("corpus") / "Ärger"
    folder.mkdir()
    rows = []
    for number in range(8):
        name = f"{NAMES[number % len(NAMES)]}{number}"
        samples = np.random.default_rng(number).integers(-3000, 3000, 8000, dtype=np.int16)
        with open(folder / f"{name}.wav", "wb") as stream:
            soundfile.write(stream, samples, 16000, format="WAV")
        (folder / f"{name}.txt").write_text("für", encoding="utf-8")
        rows.append(f"{name}.wav,für,{'eval' if number > 6 else 'train'}\n")
    (folder / "liste-é.csv").write_text("path,text,split\n" + "".join(rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("locale", "kind"),
    [("C", "manifest"), ("C", "folder"), ("de_DE.ISO-8859-1", "manifest"), ("ja_JP.EUC-JP", "manifest")],
)
def test_names_in_another_locale(
    asrctl, asrctl_process, corpus: Path, tmp_path: Path, request: Any, locale: str, kind: str
) -> None:
    env = PLAIN_C if locale == "C" else {"LC_ALL": locale, "LOCPATH": str(request.getfixturevalue("locales"))}
    words = (kind, corpus / "liste-é.csv" if kind == "manifest" else corpus, "--name", "n")
    more = ("--workspace", tmp_path / "größe", "--json")
    told = asrctl_process("prepare", *words, *more, env=env).succeeded().result
    assert asrctl_process("status", *more, env=env).succeeded().result["workspace"] == str(tmp_path / "größe")
    same = asrctl("prepare", *words, "--workspace", tmp_path / "utf-8", "--json").succeeded().result
    assert told["splits"]["train"]["rejected"] == 0
    assert (told["id"], told["splits"]) == (same["id"], same["splits"])


def test_the_terminal_keeps_its_encoding(corpus: Path, locales: Path) -> None:
    words = [sys.executable, "-m", "asrctl", "prepare", "manifest", str(corpus / "liste-é.csv"), "--dry-run"]
    env = {**os.environ, "LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": str(locales)}
    gone = subprocess.run([*words[:-2], str(corpus / "weg-é.csv")], env=env, capture_output=True, check=False)
    assert gone.returncode == 5
    assert "Ärger/weg-é.csv".encode("latin-1") in gone.stderr


def test_a_program_that_can_not_begin_again_says_what_to_do(corpus: Path, tmp_path: Path) -> None:
    program = "import sys; from asrctl.cli.app import main; main(sys.argv[1:])"
    words = ["prepare", "manifest", str(corpus / "liste-é.csv"), "--workspace", str(tmp_path / "ws")]
    env = {**os.environ, **PLAIN_C}
    done = subprocess.run([sys.executable, "-c", program, *words], env=env, capture_output=True, check=False)
    assert done.returncode == 5
    assert b"Traceback" not in done.stderr
    assert b"LC_ALL=C.UTF-8" in done.stderr
