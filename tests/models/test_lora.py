"""LoRA and kin beside a model: what is read back is what PEFT makes of it, whatever kind of model and of LoRA."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from asrctl.config.recipe import LoraSection, ModelSection
from asrctl.data.collate import collate
from asrctl.errors import MissingDependency, PresetError
from asrctl.models import ctc, loading, lora
from asrctl.models.packed import select

from ..helpers.hub_folders import save
from ..helpers.tiny import QUIET, VOCABULARY, noise

# What transformers 4.29 says on current torch.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def works() -> bool:
    try:
        lora.require()
    except MissingDependency:
        return False
    return True


needs_peft = pytest.mark.skipif(not works(), reason="needs a peft that works with this transformers")


def built(folder: Path, **changes: Any) -> loading.Recognizer:
    section = ModelSection(checkpoint=str(folder), head="reinit", lora=LoraSection(rank=3, **changes), **QUIET)
    return loading.build(section, VOCABULARY, seed=3, sample_rate=16000).recognizer


def learned(recognizer: loading.Recognizer) -> loading.Recognizer:
    """As after some steps: everything that learns has moved."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in recognizer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return recognizer


def logits(recognizer: loading.Recognizer) -> torch.Tensor:
    recognizer.model.eval()
    with torch.no_grad():
        return ctc.forward(recognizer.model, **collate(noise(16000), recognizer.features), exact=True)[0][0]


@needs_peft
@pytest.mark.parametrize("model", ["Wav2Vec2", "WavLM", "Wav2Vec2Conformer"])
@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_what_is_kept_is_the_model_beside_its_base(model: str, variant: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCTC

    base = save(tmp_path / "base", model=model)
    made = learned(built(base, variant=variant))
    assert select.choose(made.model, "cpu", "packed", shapes_free=True) == "plain"  # or LoRA would be left out
    expected = logits(made)
    loading.save_recognizer_atomically(made, tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("model*"))

    read = loading.load_recognizer(tmp_path / "kept")
    torch.testing.assert_close(logits(read), expected, atol=1e-5, rtol=1e-4)
    assert loading.examine_trained(tmp_path / "kept").vocabulary == made.vocabulary
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = AutoModelForCTC.from_pretrained(str(base), vocab_size=len(VOCABULARY), ignore_mismatched_sizes=True)
        theirs = PeftModel.from_pretrained(plain, str(tmp_path / "kept"))
    read.model = theirs.get_base_model()
    torch.testing.assert_close(logits(read), expected, atol=1e-5, rtol=1e-4)

    # Put into the same model made anew, as by resuming.
    again = loading.build_again(
        ModelSection(checkpoint=str(base), lora=LoraSection(rank=3, variant=variant), **QUIET),
        made.base,  # type: ignore[arg-type]
        VOCABULARY,
        seed=3,
    )
    loading.put(again, loading.kept_state(made))
    assert torch.equal(logits(again), expected)


@needs_peft
def test_every_matrix_beside_a_layer_learns(tmp_path: Path) -> None:
    made = built(save(tmp_path / "base", model="WavLM"))
    made.model.train()
    ctc.forward(made.model, **collate(noise(16000), made.features), exact=True)[0].sum().backward()
    up = {name: p.grad for name, p in made.model.named_parameters() if ".lora_B." in name}
    assert up and all(gradient is not None and bool(gradient.any()) for gradient in up.values())


@needs_peft
def test_targets_that_are_not_there_or_do_nothing_are_refused(tmp_path: Path) -> None:
    base = save(tmp_path / "base", model="WavLM")
    with pytest.raises(PresetError, match="'q_prj', and no linear layer") as refused:
        built(base, targets=("q_prj",))
    assert "did you mean 'q_proj'" in refused.value.fix
    with pytest.raises(PresetError, match="nothing beside it would learn") as refused:
        built(base, targets=("q_proj",))
    assert "output_dense" in refused.value.fix
    names = {name for name, parameter in built(base, targets=("output_dense",)).model.named_parameters()
             if parameter.requires_grad}  # fmt: skip
    assert names and all("output_dense.lora_" in name or name.startswith("lm_head") for name in names)


@needs_peft
def test_a_frozen_base_in_bf16_takes_half_the_memory(tmp_path: Path) -> None:
    base = save(tmp_path / "base")
    halved, whole = built(base, base="bf16"), built(base)
    kinds = {name: p.dtype for name, p in halved.model.named_parameters() if "q_proj.base_layer.weight" in name}
    assert set(kinds.values()) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in halved.model.parameters() if p.requires_grad)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(logits(halved), logits(whole), atol=0.5, rtol=0.1)


def test_without_peft_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependency) as refused:
        lora.require()
    assert "peft" in refused.value.message
    assert "asrctl[lora]" in refused.value.fix or "transformers" in refused.value.fix


@needs_peft
@pytest.mark.parametrize("model", ["Wav2Vec2", "WavLM"])
def test_a_frozen_base_in_int8_lets_gradients_through(model: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    folder = save(tmp_path / "base", model=model, config={"hidden_size": 32, "intermediate_size": 32})
    rounded, whole = built(folder, base="int8"), built(folder)
    loading.put(rounded, loading.kept_state(whole))
    small = [p for p in rounded.model.parameters() if p.dtype == torch.int8]
    assert len(small) >= 2 and not any(p.requires_grad for p in small)
    expected = logits(whole)
    torch.testing.assert_close(logits(rounded), expected, atol=0.05 * float(expected.abs().max()), rtol=0.05)
    for made in (rounded, whole):
        made.model.train()
        ctc.forward(made.model, **collate(noise(16000), made.features), exact=True)[0].square().sum().backward()
    exact = {name: p.grad for name, p in whole.model.named_parameters() if p.requires_grad}
    for name, parameter in rounded.model.named_parameters():
        if parameter.requires_grad:
            assert (parameter.grad - exact[name]).norm() <= 0.2 * exact[name].norm() + 1e-3, name
    loading.save_recognizer_atomically(rounded, tmp_path / "kept")
    assert loading.load_recognizer(tmp_path / "kept").vocabulary == rounded.vocabulary
