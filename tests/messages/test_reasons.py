"""What is told of a library's failure: the reason, never advice that would be dangerous, or wrong here."""

import pickle

import pytest
import torch

from asrctl.errors import BadData
from asrctl.messages.reasons import first_line, reason
from asrctl.models import weight_files
from asrctl.runtime import compat

from ..helpers.emulated import emulated_ipu

UNSAFE = ("weights_only", "weights only", "trust_remote_code", "allow_pickle", "safe_globals", "trusted source")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[Errno 2] No such file: 'a'. Please check the path.", "[Errno 2] No such file: 'a'"),
        (
            "The size is 3.5, not 2.0. To fix this, pass `strict=False`.\nSee https://example.org for more.",
            "The size is 3.5, not 2.0",
        ),
        ("Try again later", "ValueError"),
        ("", "ValueError"),
        ("first line\nsecond line", "first line second line"),
        (
            "Loading this model requires you to execute code. Set the option `trust_remote_code=True` to do so.",
            "it is damaged, or holds Python objects beside its numbers, and asrctl runs no code of a file",
        ),
        ("Object arrays cannot be loaded when allow_pickle=False", "it is damaged, or holds Python objects"),
    ],
)
def test_advice_is_left_out(said, told):
    assert reason(ValueError(said)).startswith(told)
    assert not any(word in reason(ValueError(said)) for word in UNSAFE)


def test_a_long_story_is_cut():
    assert len(reason(ValueError("word " * 200), 100)) <= 100
    address = f"https://example.org/{'page/' * 30}"
    assert reason(ValueError(f"it failed, as {address} says"), 100) == "it failed, as..."
    assert reason(ValueError(address), 100) == f"{address[:97]}..."
    assert first_line(ValueError("it is wrong\nand here is all that was tried")) == "it is wrong"


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def read_optimizer(path):
    """The optimizer's state of an IPU run, as optimum-graphcore keeps it."""
    pytest.importorskip("optimum")
    from asrctl.ipu import hardware

    with emulated_ipu(), compat.quiet_transformers():
        hardware.require("ipu-emulated")
        from asrctl.ipu.trainer import load_allowed

        return load_allowed(path)


@pytest.mark.parametrize("read", [weight_files.tensors, read_optimizer])
@pytest.mark.parametrize("content", ["object", "pickle", "bytes", "cut"])
def test_torchs_advice_reaches_nobody(tmp_path, capsys, read, content):
    path = tmp_path / "optimizer.pt"
    if content == "object":
        torch.save({"state": Evil()}, str(path))
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save({"state": torch.zeros(3)}, str(path))
        data = path.read_bytes()
        path.write_bytes(b"nonsense" if content == "bytes" else data[: len(data) // 2])
    with pytest.raises(BadData) as refused:
        read(path)
    said = f"{refused.value.message} {refused.value.fix}"
    assert str(path) in said and not any(word in said.lower() for word in UNSAFE)
    assert capsys.readouterr().out == ""
