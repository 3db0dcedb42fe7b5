"""Without a network, or with one that does not answer, a model of the hub is missed in seconds, in one sentence."""

from __future__ import annotations

import contextlib
import socket
from typing import Iterator

import pytest

from ..helpers.hub import serving


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port of this machine where connections are made, and nothing is ever answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield listening.getsockname()[1]


def online(port: int, home) -> dict:
    return {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
    }


WORDS = {
    "ipu_config.json of": ("presets", "import", "facebook/wav2vec2-base"),
    "the vocabulary of": ("vocab", "manifest", "a.csv", "--from", "facebook/wav2vec2-base"),
}


def refused_as_unreachable(done, what: str) -> None:
    assert done.exit_code == 4, done.stderr
    assert done.error["message"].startswith(what)
    assert "the Hugging Face hub can not be reached (" in done.error["message"]
    assert "\n" not in done.error["message"]
    assert done.error["fix"] == "connect to the network, or name a local folder instead"
    assert "Traceback" not in done.stderr and "Retrying" not in done.stderr


@pytest.mark.parametrize("what", ["ipu_config.json of", "the vocabulary of"])
def test_a_hub_that_refuses_is_missed_at_once(asrctl_process, in_folder, what: str) -> None:
    (in_folder / "a.csv").write_text("path,text\na.wav,abc\nb.wav,abc\n", encoding="utf-8")
    with silent_port() as port:
        closed = port  # nobody listens there any more
    done = asrctl_process(*WORDS[what], "--json", env=online(closed, in_folder / "home"))
    refused_as_unreachable(done, what)


def test_a_hub_that_does_not_answer_is_missed_in_seconds(asrctl_process, tones, learned_tones, tmp_path) -> None:
    words = ("--set", "model.checkpoint=facebook/wav2vec2-base", "--preset", learned_tones.parent / "tones.yaml")
    with silent_port() as port:
        done = asrctl_process("train", "--device", "cpu", "--json", *words, env=online(port, tmp_path / "home"))
    refused_as_unreachable(done, "the checkpoint facebook/wav2vec2-base")
    assert "it does not answer" in done.error["message"]


def test_what_was_fetched_once_needs_no_hub(asrctl_process, in_folder, tmp_path) -> None:
    folder, home = tmp_path / "model", tmp_path / "home"
    folder.mkdir()
    (folder / "ipu_config.json").write_text(
        '{"layers_per_ipu": [9, 4, 4, 4], "ipus_per_replica": 4, "gradient_accumulation_steps": 8}', encoding="utf-8"
    )
    for name in ("one", "two"):
        (in_folder / name).mkdir()
    with serving(folder, "somebody/speech", home) as served:
        first = asrctl_process("presets", "import", "somebody/speech", "--output", "one/a.yaml", env=served)
        port = int(served["HF_ENDPOINT"].rsplit(":", 1)[1])
    again = asrctl_process("presets", "import", "somebody/speech", "--output", "two/a.yaml", env=online(port, home))
    assert first.succeeded() and again.succeeded()
    assert (in_folder / "one" / "a.yaml").read_text() == (in_folder / "two" / "a.yaml").read_text()


def test_a_name_that_the_hub_does_not_know_is_no_matter_of_the_network(asrctl_process, in_folder, tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with serving(folder, "somebody/speech", tmp_path / "home") as served:
        done = asrctl_process("presets", "import", "somebody/speech", "--json", env=served)
    assert done.exit_code == 4
    assert "can not be reached" not in done.error["message"]
    assert done.error["fix"] == "check the name and the network, or name a local folder instead"
