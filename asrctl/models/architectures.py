"""The speech encoders that asrctl trains: what is known of each, and why others are refused.

Of the ones listed here nothing is asked of transformers but whether it has them. One that the installed transformers
has and this list does not is described by the library itself (`models/library.py`, `models/measured_frames.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from asrctl.config import model_config
from asrctl.data import audio
from asrctl.errors import MissingDependency, PresetError
from asrctl.messages.command_lines import pip_install
from asrctl.models import hf_config, library, measured_frames
from asrctl.models.frames import Convolutions

Values = Mapping[str, Any]
# The feature extractor that does nothing but normalize; asrctl does that itself.
WAVEFORM = "Wav2Vec2FeatureExtractor"


def _of_waveform(values: Values, extractor: Values) -> Convolutions:
    """Of a convolutional encoder over samples; what comes behind it leaves the number of frames as it is."""
    kernels = values.get("conv_kernel", audio.CONV_KERNELS)
    return Convolutions(tuple(kernels), tuple(values.get("conv_stride", audio.CONV_STRIDES)))


def _of_sew(values: Values, extractor: Values) -> Convolutions:
    """Of a convolutional encoder; fewer frames than are pooled into one are none, and the others stay as many."""
    kernels = values.get("conv_kernel", (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1))
    strides = values.get("conv_stride", (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1))
    pooled = int(values.get("squeeze_factor", 2))
    return Convolutions((*kernels, pooled, 2 - pooled), (*strides, 1, 1))


def _of_wav2vec2_bert(values: Values, extractor: Values) -> Convolutions:
    """Windows of 25 ms every 10 ms, of which two make a frame, the last one alone too.

    The first frame needs two windows, as their variance is taken.
    """
    return Convolutions((560, 0), (160, int(extractor.get("stride", 2))))


def _of_parakeet(values: Values, extractor: Values) -> Convolutions:
    """A window every 10 ms, at least two, as their variance is taken; then convolutions padded by half a kernel."""
    hop, kernel = int(extractor.get("hop_length", 160)), int(values.get("subsampling_conv_kernel_size", 3))
    layers = max(int(values.get("subsampling_factor", 8)), 1).bit_length() - 1
    stride = int(values.get("subsampling_conv_stride", 2))
    reach = kernel - (kernel - 1) // 2 * 2
    first = [reach - 1] if layers else []  # counts from the second window on
    return Convolutions((2 * hop, *first, *[reach] * (layers - 1)), (hop, *[stride] * layers))


def _of_lasr(values: Values, extractor: Values) -> Convolutions:
    kernel, stride = values.get("subsampling_conv_kernel_size", 5), values.get("subsampling_conv_stride", 2)
    window, hop = extractor.get("win_length", 400), extractor.get("hop_length", 160)
    return Convolutions((int(window), int(kernel), int(kernel)), (int(hop), int(stride), int(stride)))


def _of_mctct(values: Values, extractor: Values) -> Convolutions:
    """Windows of 25 ms every 10 ms; of all convolutions the first one gets the padding of all."""
    rate = int(extractor.get("sampling_rate", 16000))
    window, hop = (
        int(extractor.get(key, usual)) * rate // 1000 for key, usual in (("win_length", 25), ("hop_length", 10))
    )
    kernels, strides = list(values.get("conv_kernel", (7,))), tuple(values.get("conv_stride", (3,)))
    kernels[0] -= 2 * sum(kernel // 2 for kernel in kernels)
    return Convolutions((window, *kernels), (hop, *strides))


def _rows_as_frames(values: Values) -> Convolutions:
    return Convolutions((), ())


def _convolved_rows(values: Values) -> Convolutions:
    return _of_waveform(values, {})


def _parakeet_rows(values: Values) -> Convolutions:
    found = _of_parakeet(values, {})
    kernel = int(values.get("subsampling_conv_kernel_size", 3))
    return Convolutions((kernel - (kernel - 1) // 2 * 2,) * (len(found.strides) - 1), found.strides[1:])


def _lasr_rows(values: Values) -> Convolutions:
    found = _of_lasr(values, {})
    return Convolutions(found.kernels[1:], found.strides[1:])


def _of_granite(values: Values, extractor: Values) -> Convolutions:
    """A window every 10 ms, of which two make a frame, the last one alone too; then some layers halve their number."""
    hop, halved = int(extractor.get("hop_length", 160)), len(values.get("subsample_layers") or (0, 1))
    return Convolutions((hop, 1, *[2] * halved), (hop, 2, *[2] * halved))


@dataclass(frozen=True)
class Architecture:
    """What asrctl has to know of a model with a CTC head.

    kind: `model_type` of its config.json. extractor: the class that makes its input of samples. together: whether
    utterances in one padded batch get the logits that each gets alone; else each is given to the model alone.
    inner: the key of config.json below which the encoder's own configuration stands, where it does. needs: packages
    beside transformers. counts: (configuration of the encoder, settings of the extractor) -> frames of samples; None:
    they are measured. rows: configuration of the encoder -> frames of the rows that an extractor makes, for models that
    take several utterances together. masks_end: the extractor's mask may end before what it made, and what is behind
    is nothing; elsewhere a masked row is part of the utterance, as plain transformers has it.
    pipeline: whether transformers' own pipeline transcribes it, and leaves out what is behind the end of the mask.
    """

    kind: str
    model_class: str
    extractor: str = WAVEFORM
    together: bool = True
    inner: str = ""
    needs: Tuple[str, ...] = ()
    counts: Optional[Callable[[Values, Values], Convolutions]] = _of_waveform
    rows: Optional[Callable[[Values], Convolutions]] = None
    masks_end: bool = False
    pipeline: bool = True

    @property
    def generates(self) -> bool:
        """Whether the class has a `generate` of its own, which leaves out what is behind the end of the mask."""
        return not self.pipeline and self.kind != "mctct"

    @property
    def hears_samples(self) -> bool:
        """Whether its input is the waveform, normalized or not, rather than what an extractor of its own makes."""
        return self.extractor == WAVEFORM

    def encoder_values(self, values: Values) -> Dict[str, Any]:
        """The values of config.json that shape the encoder, from whichever level."""
        below = values.get(self.inner) if self.inner else None
        return {**values, **(below if isinstance(below, Mapping) else {})}

    def settings_of(self, values: Values) -> Dict[str, Any]:
        """Settings of its feature extractor that follow from its configuration."""
        values = self.encoder_values(values)
        if self.extractor == "SeamlessM4TFeatureExtractor":
            half = int(values.get("feature_projection_input_dim", 160)) // 2
            return {"feature_size": half, "num_mel_bins": half}
        bins = next((values[key] for key in ("num_mel_bins", "input_feat_per_channel") if key in values), None)
        if bins is None:
            return {}
        known = library.extractor_keys(self.extractor)
        return {"num_mel_bins" if "num_mel_bins" in known else "feature_size": int(bins)}

    def convolutions(self, values: Values, extractor: Values) -> Convolutions:
        """Frames for so many samples. values: of config.json. extractor: settings of the feature extractor.

        Raises ValueError where they can not be counted.
        """
        if self.counts is None:
            return measured_frames.measure(self.kind, self.extractor, values, {**self.settings_of(values), **extractor})
        return self.counts(self.encoder_values(values), extractor)


_LISTED = (
    Architecture("wav2vec2", "Wav2Vec2ForCTC"),
    Architecture("hubert", "HubertForCTC"),
    Architecture("wavlm", "WavLMForCTC"),
    Architecture("data2vec-audio", "Data2VecAudioForCTC"),
    Architecture("unispeech", "UniSpeechForCTC"),
    Architecture("unispeech-sat", "UniSpeechSatForCTC"),
    Architecture("wav2vec2-conformer", "Wav2Vec2ConformerForCTC"),
    # Their frames are pooled by twos and spread again, across the border to the padding.
    Architecture("sew", "SEWForCTC", together=False, counts=_of_sew),
    Architecture("sew-d", "SEWDForCTC", together=False, counts=_of_sew),
    Architecture(
        "wav2vec2-bert",
        "Wav2Vec2BertForCTC",
        "SeamlessM4TFeatureExtractor",
        counts=_of_wav2vec2_bert,
        rows=_rows_as_frames,
    ),
    Architecture(
        "parakeet_ctc",
        "ParakeetForCTC",
        "ParakeetFeatureExtractor",
        inner="encoder_config",
        counts=_of_parakeet,
        rows=_parakeet_rows,
        masks_end=True,
        pipeline=False,
    ),
    Architecture(
        "lasr_ctc",
        "LasrForCTC",
        "LasrFeatureExtractor",
        inner="encoder_config",
        counts=_of_lasr,
        rows=_lasr_rows,
    ),
    Architecture(
        "omniasr_ctc",
        "OmniASRForCTC",
        "OmniASRFeatureExtractor",
        inner="audio_config",
        rows=_convolved_rows,
        pipeline=False,
    ),
    Architecture(
        "granite_speech5_ctc",
        "GraniteSpeech5ForCTC",
        "GraniteSpeech5FeatureExtractor",
        together=False,
        inner="encoder_config",
        needs=("torchaudio",),
        counts=_of_granite,
        pipeline=False,
    ),
    Architecture(
        "mctct",
        "MCTCTForCTC",
        "MCTCTFeatureExtractor",
        together=False,
        needs=("torchaudio",),
        counts=_of_mctct,
        pipeline=False,
    ),
)
LISTED: Dict[str, Architecture] = {item.kind: item for item in _LISTED}
# {model type: class} of those that every generation of transformers has.
ARCHITECTURES = {item.kind: item.model_class for item in _LISTED[:4]}
KNOWN = ", ".join(LISTED)
_WRITES_BY_DECODER = "its text comes from a decoder, not from CTC"
_TRANSDUCER = "it is a transducer, whose text comes from a decoder, not from CTC"
_REFUSED = {
    **dict.fromkeys(
        ("whisper", "speech_to_text", "speecht5", "speech-encoder-decoder", "moonshine", "seamless_m4t", "omniasr"),
        _WRITES_BY_DECODER,
    ),
    **dict.fromkeys(("parakeet_rnnt", "parakeet_tdt", "nemotron_asr_streaming"), _TRANSDUCER),
    **dict.fromkeys(("parakeet_encoder", "lasr_encoder", "omniasr_audio"), "it is only the encoder of such a model"),
}


def why_not(kind: str) -> str:
    """ ": " and the reason why a model of this type can not be trained here; nothing where it is not known."""
    reason = _REFUSED.get(kind) or (library.why_no_model(kind) if kind else "")
    return f": {reason}" if reason else ""


def find(kind: str) -> Optional[Architecture]:
    """What is known of a model type; None for one that is not trained. Whether it can be here is for `require`."""
    if kind in LISTED or kind in _REFUSED:
        return LISTED.get(kind)
    found = library.describe(kind)
    if found is None:
        return None
    inner = next((key for key in model_config.INNER if hf_config.inner_type(kind, key)), "")
    return Architecture(kind, found.model_class, found.extractor, False, inner, counts=None, pipeline=False)


def require(kind: str) -> Architecture:
    """What is known of a model type. Raises PresetError for one that asrctl does not train, or can not here.

    Raises MissingDependency where a package is missing that its feature extractor needs.
    """
    found = find(kind)
    if found is None:
        raise PresetError(f"asrctl trains no models of type {kind!r}{why_not(kind)}", fix=f"use one of {KNOWN}")
    if kind not in ARCHITECTURES and not library.has_model(kind):
        raise PresetError(
            f"transformers {library.version()}, which is installed, has no {found.model_class} for {kind} models",
            fix=f"install a release of transformers that has it, or use one of {', '.join(ARCHITECTURES)}",
        )
    for package in found.needs:
        if not library.is_installed(package):
            raise MissingDependency(
                f"the feature extractor of {kind} models needs the package {package}", fix=pip_install(package)
            )
    return found
