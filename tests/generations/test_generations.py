"""Prepare here, train there: what either library generation makes gives the other the same ids, names and numbers.

ASRCTL_OTHER_PYTHON names the interpreter of an environment with the other generation; `nox -s generations` makes both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from .work import ARCHITECTURES, NORMS, POD, STEPS

OTHER = os.environ.get("ASRCTL_OTHER_PYTHON")
WORK = Path(__file__).with_name("work.py")
LARGEST_DIFFERENCE = 1e-5

pytestmark = pytest.mark.skipif(
    not OTHER, reason="ASRCTL_OTHER_PYTHON names no interpreter of the other library generation; nox -s generations"
)


def work(python: str, *words: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [python, str(WORK), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def finish(*processes: "subprocess.Popen[str]") -> None:
    said = [process.communicate(timeout=600)[0] for process in processes]
    for process, text in zip(processes, said):
        assert process.returncode == 0, text


class View:
    """What a process wrote down: words in `told`, numbers in `arrays`."""

    def __init__(self, path: Path) -> None:
        self.told: Dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(str(path.with_suffix(".npz"))) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}

    def of(self, prefix: str) -> Dict[str, Any]:
        """{rest of the name: array} of what begins with `prefix`."""
        found = {name[len(prefix) :]: array for name, array in self.arrays.items() if name.startswith(prefix)}
        assert found, prefix
        return found


class Both:
    """One direction: what the maker saw in its own work, and what the other generation saw in it and did with it."""

    def __init__(self, maker: Path, user: Path) -> None:
        self.maker, self.user = maker, user
        self.own, self.seen = View(maker / "own"), View(user / "seen")


@pytest.fixture(scope="module")
def folders(librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """{"this" | "other": what that generation made, and what it saw in the other one's}."""
    pythons = {"this": sys.executable, "other": str(OTHER)}
    found = {name: tmp_path_factory.mktemp(name) for name in pythons}
    finish(*(work(python, "make", found[name], librispeech) for name, python in pythons.items()))
    across = {"this": "other", "other": "this"}
    finish(*(work(pythons[name], "use", found[name], found[across[name]], librispeech) for name in pythons))
    pods = [name for name in pythons if (found[name] / f"{POD}.json").exists()]
    finish(*(work(pythons[across[name]], "listen", found[across[name]], found[name]) for name in pods))
    return found


@pytest.fixture(params=["this", "other"])
def both(request: pytest.FixtureRequest, folders: Dict[str, Path]) -> Both:
    """What one generation made, used by the other; in both directions."""
    other = "other" if request.param == "this" else "this"
    return Both(folders[request.param], folders[other])


def close(left: Dict[str, Any], right: Dict[str, Any]) -> None:
    assert set(left) == set(right)
    for name, array in left.items():
        assert array.shape == right[name].shape, name
        difference = float(np.abs(array - right[name]).max()) if array.size else 0.0
        assert difference <= LARGEST_DIFFERENCE, f"{name}: {difference:.3g}"


def test_the_two_are_two_generations(both: Both) -> None:
    """Or nothing below would show anything."""
    versions = [
        json.loads((folder / "workspace" / "runs" / "group" / "run.json").read_text())["versions"]
        for folder in (both.maker, both.user)
    ]
    assert len({version["transformers"].split(".")[0] for version in versions}) == 2, versions


def test_everything_that_is_told_is_the_same(both: Both) -> None:
    """Token ids, samples, tensor names, recipes, and what plain transformers finds missing."""
    assert {name: value for name, value in both.seen.told.items() if name in both.own.told} == both.own.told


def test_the_other_generation_prepares_the_same(both: Both) -> None:
    identity, new = both.seen.told["prepared again"]
    assert not new
    assert (both.maker / "workspace" / "prepared" / identity).is_dir()
    assert (both.user / "workspace" / "prepared" / identity).is_dir(), "it had come to the same ID by itself"


def test_tensors_have_the_names_of_the_hub(both: Both) -> None:
    names = {name: value for name, value in both.seen.told.items() if name.startswith("names ")}
    assert len(names) == 2 * len(NORMS) + len(ARCHITECTURES) + len(NORMS)
    assert not [name for found in names.values() for name in found if "parametrizations" in name]
    for norm in NORMS:
        assert "wav2vec2.encoder.pos_conv_embed.conv.weight_g" in names[f"names run {norm}"]
    assert not [name for name in both.seen.arrays if "parametrizations" in name]


def test_plain_transformers_misses_nothing(both: Both) -> None:
    """A weight of the positional convolution that is not found would be drawn anew, with no more than a warning."""
    found = {name: value for name, value in both.seen.told.items() if name.startswith("loading ")}
    assert found and all(value == [[], []] for value in found.values()), found


def test_logits_are_the_same(both: Both) -> None:
    for prefix in ("logits ", "plain "):
        close(both.own.of(prefix), both.seen.of(prefix))
    for name, rates in both.own.of("rates ").items():
        # Here and there two letters are as likely as each other, and rounding decides.
        assert np.allclose(rates, both.seen.of("rates ")[name], atol=0.01)
    for name in (*NORMS, "hubert-group", "wavlm-group"):
        kept = f"export {name}" if name in NORMS else name
        assert all(np.ptp(array) > 0.1 for array in both.seen.of(f"logits {kept}: ").values())


def test_labels_are_those_of_the_exported_tokenizer(both: Both) -> None:
    for norm in NORMS:
        ids = both.seen.told[f"ids export {norm}"]
        assert ids == {name: both.own.told["labels eval"][name] for name in ids}


def test_a_run_goes_on_in_the_other_generation_as_it_went_in_its_own(both: Both) -> None:
    for norm in NORMS:
        assert both.seen.told[f"resumed {norm}"] == STEPS
        close(both.own.of(f"checkpoint {norm} {STEPS}: "), both.seen.of(f"resumed {norm}: "))
        close(both.own.of(f"optimizer {norm} {STEPS}: "), both.seen.of(f"moments {norm}: "))


def test_speech_prepared_here_is_trained_on_a_pod_there_and_the_model_comes_back(folders: Dict[str, Path]) -> None:
    """By the unmodified optimum-graphcore, which runs on the older generation only."""
    trained = [folder for folder in folders.values() if (folder / f"{POD}.json").exists()]
    if not trained:
        pytest.skip("neither environment has optimum-graphcore (pip install -c constraints-ipu.txt 'asrctl[ipu]')")
    (user,) = [folder for folder in folders.values() if folder not in trained]
    there, here = View(trained[0] / POD), View(user / "heard")
    assert {name: value for name, value in here.told.items() if name in there.told} == there.told
    assert here.told["loading export"] == [[], []]
    close(there.arrays, here.arrays)
    assert here.told["evaluated"][1:] == ["ipu-emulated", True]
