"""Models of every architecture: padding left out, plain transformers' folders, heads and weights that do not fit."""

import json

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from asrctl.config.recipe import ModelSection, SpecAugment
from asrctl.data.collate import collate
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.errors import BadData, MissingArtifact, PresetError
from asrctl.models import architectures, ctc, loading, weight_matching

from ..helpers.tiny import VOCABULARY, geometry, noise, tiny_recognizer

SMALL = geometry(32, 16, intermediate_size=48, num_conv_pos_embeddings=16)
CASES = [
    ("wav2vec2", {"feat_extract_norm": "group"}),
    ("wav2vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}),
    ("hubert", {"feat_extract_norm": "group"}),
    ("hubert", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    ("wavlm", {"feat_extract_norm": "group"}),
    ("data2vec-audio", {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 7}),
]


def section(architecture="wav2vec2", config=None, **other):
    return ModelSection(architecture=architecture, config=dict(SMALL, **(config or {})), **other)


def make(architecture="wav2vec2", config=None, **other):
    return tiny_recognizer(dict(SMALL, **(config or {})), architecture, **other)


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_a_batch_gives_what_each_utterance_gives_alone(architecture, config):
    recognizer = make(architecture, config)
    model = recognizer.model.eval()
    rows = noise(16000, 9000, 5123)
    with torch.no_grad():
        together, frames = ctc.forward(model, **collate(rows, recognizer.features), exact=True)
        for index, row in enumerate(rows):
            values = collate([row], recognizer.features)["input_values"]
            alone = model(input_values=values).logits[0]
            assert len(alone) == frames[index]
            torch.testing.assert_close(together[index, : len(alone)], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")  # transformers 4.29 on current torch
@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_a_saved_folder_is_plain_transformers(architecture, config, tmp_path):
    from transformers import AutoModelForCTC

    recognizer = make(architecture, config, spec_augment=SpecAugment(time_prob=0.1))
    loading.save_recognizer(recognizer, tmp_path)
    assert not [name for name in load_file(str(tmp_path / "model.safetensors")) if "parametrizations" in name]
    values = collate(noise(8000), recognizer.features)["input_values"]
    plain, info = AutoModelForCTC.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = loading.load_recognizer(tmp_path)
    with torch.no_grad():
        expected = recognizer.model.eval()(input_values=values).logits
        assert torch.equal(expected, plain.eval()(input_values=values).logits)
        assert torch.equal(expected, ours.model(input_values=values).logits)
    assert ours.vocabulary == VOCABULARY
    assert ours.features == recognizer.features
    assert max(ours.vocabulary.ids.values()) < ours.model.config.vocab_size


def test_a_head_for_another_order_of_characters_is_refused_or_drawn_anew(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    other = Vocabulary(VOCABULARY.tokens[::-1])
    with pytest.raises(PresetError, match="output 0 is"):
        make(checkpoint=str(tmp_path), vocabulary=other)
    built = loading.build(ModelSection(checkpoint=str(tmp_path), head="reinit"), other, seed=3, sample_rate=16000)
    assert built.new_head
    assert built.recognizer.model.config.pad_token_id == other.blank_id
    same = loading.build(ModelSection(checkpoint=str(tmp_path)), VOCABULARY, seed=3, sample_rate=16000)
    assert not same.new_head


def test_a_head_of_another_size_is_refused(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    larger = build_vocabulary(dict.fromkeys("abcdefgh", 1), TextRules())
    with pytest.raises(PresetError, match="8 outputs, the vocabulary has 11"):
        make(checkpoint=str(tmp_path), vocabulary=larger)


def test_a_missing_weight_is_an_error_and_named(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    weights = load((tmp_path / "model.safetensors").read_bytes())
    gone = "wav2vec2.encoder.pos_conv_embed.conv.weight_g"
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, str(tmp_path / "model.safetensors"))
    with pytest.raises(BadData) as caught:
        make(checkpoint=str(tmp_path))
    assert caught.value.problems == (f"{gone} is missing",)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_every_weight_but_a_head_declared_new_is_needed(norm, tmp_path):
    loading.save_recognizer(make(config={"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load(path.read_bytes())  # a mapped file must not be overwritten
    for gone in weights:
        save_file({name: tensor for name, tensor in weights.items() if name != gone}, str(path))
        with pytest.raises(BadData if gone != weight_matching.HEAD[0] else (BadData, PresetError)):
            make(checkpoint=str(tmp_path))
        with pytest.raises(BadData):
            loading.load_recognizer(tmp_path)
        if gone not in weight_matching.HEAD:
            with pytest.raises(BadData, match="do not fit"):
                make(checkpoint=str(tmp_path), head="reinit", vocabulary=Vocabulary(VOCABULARY.tokens[::-1]))


def test_current_parametrization_names_load_too(tmp_path):
    recognizer = make()
    loading.save_recognizer(recognizer, tmp_path)
    weights = load((tmp_path / "model.safetensors").read_bytes())
    current = {
        name.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): tensor
        for name, tensor in weights.items()
    }
    save_file(current, str(tmp_path / "model.safetensors"))
    again = loading.load_recognizer(tmp_path)
    for name, tensor in recognizer.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_masks_on_a_checkpoint_trained_without_them_are_said(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    wanted = ModelSection(checkpoint=str(tmp_path), spec_augment=SpecAugment(time_prob=0.2))
    built = loading.build(wanted, VOCABULARY, seed=1, sample_rate=16000)
    assert built.notes == (f"wav2vec2.masked_spec_embed is not in {tmp_path.name} and was drawn anew",)


@pytest.mark.parametrize("architecture", architectures.ARCHITECTURES)
def test_what_a_checkpoint_lacks_is_drawn_as_transformers_draws_it(architecture, tmp_path):
    config = {"hidden_size": 256, "num_hidden_layers": 1}  # large enough to tell a spread
    loading.save_recognizer(make(architecture, config), tmp_path)
    wanted = ModelSection(checkpoint=str(tmp_path), head="reinit", spec_augment=SpecAugment(time_prob=0.2))
    other = Vocabulary(VOCABULARY.tokens[::-1])

    def drawn(seed):
        model = loading.build(wanted, other, seed=seed, sample_rate=16000).recognizer.model
        parts = (model.lm_head.weight, model.lm_head.bias, ctc.encoder_of(model).masked_spec_embed)
        return [part.detach() for part in parts]

    weight, bias, mask = drawn(1)
    assert weight.std() == pytest.approx(0.02, rel=0.1)
    assert not bias.any()
    assert 0.0 <= mask.min() < 0.05 < 0.95 < mask.max() <= 1.0
    assert all(torch.equal(one, same) for one, same in zip(drawn(1), drawn(1)))
    assert not torch.equal(drawn(2)[0], weight)


def test_loading_leaves_the_random_numbers_of_others_alone(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    before = torch.random.get_rng_state()
    make(checkpoint=str(tmp_path))
    loading.load_recognizer(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_masks_wider_than_the_model_are_refused():
    with pytest.raises(PresetError, match="a mask of 64 channels is wider than the model, which has 32"):
        make(spec_augment=SpecAugment(feature_prob=0.1, feature_length=64))
    make(spec_augment=SpecAugment(feature_prob=0.0, feature_length=64))


def test_damaged_weights_are_one_sentence(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadData, match="can not be read as weights"):
        loading.load_recognizer(tmp_path)


def test_no_code_of_a_checkpoint_is_run(tmp_path):
    loading.save_recognizer(make(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')")

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"lm_head.weight": Payload()}, tmp_path / "pytorch_model.bin")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(dict(config, auto_map={"AutoModelForCTC": "evil.Evil"})))
    with pytest.raises(BadData, match="can not be read as weights"):
        loading.load_recognizer(tmp_path)
    assert not marker.exists()


def test_a_missing_folder_and_an_unknown_config_key():
    with pytest.raises(MissingArtifact, match="no checkpoint folder"):
        make(checkpoint="./nowhere")
    with pytest.raises(PresetError) as caught:
        make(config={"hiden_size": 3})
    assert "hiden_size" in caught.value.problems[0]


def test_the_feature_encoder_is_frozen_only_when_asked():
    frozen = make(freeze_feature_encoder=True).model.wav2vec2.feature_extractor
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    free = make(freeze_feature_encoder=False).model.wav2vec2.feature_extractor
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_the_same_seed_draws_the_same_model():
    first, second, other = make(seed=5), make(seed=5), make(seed=6)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    assert not torch.equal(first.model.lm_head.weight, other.model.lm_head.weight)
