"""The speech encoders that asrctl trains, and why others are refused."""

from __future__ import annotations

from asrctl.errors import PresetError

ARCHITECTURES = {
    "wav2vec2": "Wav2Vec2ForCTC",
    "hubert": "HubertForCTC",
    "wavlm": "WavLMForCTC",
    "data2vec-audio": "Data2VecAudioForCTC",
}
KNOWN = ", ".join(ARCHITECTURES)
_WRITES_BY_DECODER = "its text comes from a decoder, not from CTC"
_OTHER_LAYERS = "its layers are none that asrctl knows"
_REFUSED = {
    **dict.fromkeys(
        ("whisper", "speech_to_text", "speecht5", "speech-encoder-decoder", "moonshine", "seamless_m4t"),
        _WRITES_BY_DECODER,
    ),
    **dict.fromkeys(
        ("wav2vec2-conformer", "wav2vec2-bert", "unispeech", "unispeech-sat", "sew", "sew-d", "mctct", "parakeet_ctc"),
        _OTHER_LAYERS,
    ),
}


def why_not(model_type: str) -> str:
    """ ": " and the reason for models of other kinds that people have; else nothing."""
    return f": {_REFUSED[model_type]}" if model_type in _REFUSED else ""


def require(model_type: str) -> None:
    """Raises PresetError for an architecture that asrctl does not train."""
    if model_type not in ARCHITECTURES:
        raise PresetError(
            f"asrctl trains no models of type {model_type!r}{why_not(model_type)}", fix=f"use one of {KNOWN}"
        )
