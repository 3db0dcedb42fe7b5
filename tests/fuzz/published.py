"""Published corpora as the fuzzers damage them: a small valid one of each, and its files as seeds."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Callable, Dict, Tuple

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.text import TextRules

Files = Dict[str, bytes]

_ROWS = b"".join(b'c%d\t%d.mp3\tx\tHe said "no\tcy\n' % (at, at) for at in range(3))
_TABLE = b"client_id\tpath\tsentence_id\tsentence\tlocale\n" + _ROWS
_RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0, 1], "source": "../audio/r.wav"}],
    "sampling_rate": 16000,
    "duration": 4.0,
}
_SAID = {"id": "s", "recording_id": "r", "start": 0.5, "duration": 1.0, "channel": [1], "text": "word", "speaker": "x"}
_CUT = {"id": "c", "type": "MonoCut", "start": 1.0, "duration": 2, "supervisions": [_SAID], "recording": _RECORDING}
_CUTS = [_CUT, {"id": "m", "type": "MixedCut", "tracks": [{"cut": _CUT}]}]


def _lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def _tar(members: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()[:10240]


_SAMPLES = {
    "a.flac": b"fLaC" * 50,
    "a.txt": "été".encode(),
    "./b/c.left.wav": b"",
    "b/c.json": json.dumps({"text": "hello", "speaker": 3, "start": 1.0, "channel": "B"}).encode(),
}
_RELEASE = {"cy/train.tsv": _TABLE, "cy/dev.tsv": _TABLE, "cy/validated.tsv": _TABLE, "cy/test.tsv": _TABLE}

# {name: (corpus, its splits, options, files, those that are damaged)}
_CORPORA: Dict[str, Tuple[str, Tuple[str, ...], Dict[str, object], Files, Tuple[str, ...]]] = {
    "commonvoice": (
        "commonvoice", ("train", "dev"), {"validated_without_test": True}, _RELEASE,
        ("cy/validated.tsv", "cy/dev.tsv"),
    ),
    "commonvoice-tar": (
        "commonvoice", ("train", "dev"), {}, {"cv-corpus-1.tar": _tar({**_RELEASE, "cy/clips/1.mp3": b"x"})},
        ("cv-corpus-1.tar",),
    ),
    "ljspeech": (
        "ljspeech", ("train",), {}, {"metadata.csv": b"a|A 1|a one\nb|B|\n", "wavs/a.wav": b""}, ("metadata.csv",)
    ),
    "mls": (
        "mls", ("9hr", "dev"), {},
        {
            "train/transcripts.txt": b"1_2_0\tword\n1_2_1\tother\n", "dev/transcripts.txt": b"3_4_0\tword\n",
            "train/audio/1/2/1_2_0.flac": b"", "train/limited_supervision/9hr/handles.txt": b"1_2_0\n1_2_9\n",
        },
        ("train/transcripts.txt", "train/limited_supervision/9hr/handles.txt"),
    ),
    "an4": (
        "an4", ("train",), {},
        {
            "etc/an4_train.transcription": b"<s> ONE TWO </s> (an1-ab-b)\nTHREE (an2-cd-b)\n",
            "etc/an4_train.fileids": b"x/ab/an1-ab-b\n", "wav/x/ab/an1-ab-b.sph": b"NIST_1A\n   1024\n",
        },
        ("etc/an4_train.transcription", "etc/an4_train.fileids"),
    ),
    "kaldi": (
        "kaldi", ("train",), {},
        {
            "train/wav.scp": b"r1 wav/r1.wav\nr2 s3://bucket/r2.flac\n", "train/text": b"u1 one two\nu2 three\n",
            "train/segments": b"u1 r1 0.5 1.25\nu2 r2 0 -1 2\n", "train/utt2spk": b"u1 s\nu2 s\n",
            "train/spk2utt": b"s u1 u2\n", "train/reco2dur": b"r1 2.5\n",
            "train/reco2file_and_channel": b"r1 r1 A\nr2 r2 B\n", "wav/r1.wav": b"RIFF",
        },
        ("train/wav.scp", "train/text", "train/segments", "train/utt2spk", "train/reco2dur",
         "train/reco2file_and_channel"),
    ),
    "nemo": (
        "nemo", ("train",), {},
        {
            "train.json": _lines(
                {"audio_filepath": "a.wav", "text": "one", "duration": 1.5, "offset": 0.25, "lang": "en"},
                {"audio_filepath": "/data/b.wav", "normalized_text": "two", "duration": 2, "_skipme": 1},
                {"audio_file": "c.wav", "text_filepath": "c.txt", "channel": 1},
            ),
            "a.wav": b"RIFF", "c.txt": b"three",
            "tarred/tarred_audio_manifest.json": _lines(
                {"audio_filepath": "a-sub1.wav", "text": "one", "duration": 1, "shard_id": 0, "offset": 0}
            ),
            "tarred/audio_0.tar": b"",
        },
        ("train.json", "tarred/tarred_audio_manifest.json", "c.txt"),
    ),
    "fairseq": (
        "fairseq", ("train", "valid"), {},
        {
            "train.tsv": b"wav\na.wav\t8000\nb.wav\t16000\n", "train.ltr": b"O N E |\nT W O | <unk>\n",
            "train.wrd": b"ONE\nTWO\n", "dict.ltr.txt": b"O 10\nN 5\nE 5\nT 2\nW 1\n| 20\n",
            "valid.tsv": b"wav\nc.wav\t8000\n", "valid.wrd": b"THREE\n", "wav/a.wav": b"RIFF",
        },
        ("train.tsv", "train.ltr", "train.wrd", "dict.ltr.txt", "valid.wrd"),
    ),
    "webdataset": ("webdataset", ("train",), {}, {"a-000.tar": _tar(_SAMPLES)}, ("a-000.tar",)),
    "lhotse-cuts": ("lhotse", ("train",), {}, {"in/cuts.jsonl": _lines(*_CUTS)}, ("in/cuts.jsonl",)),
    "lhotse-array": ("lhotse", ("train",), {}, {"in/cuts.json": json.dumps(_CUTS).encode()}, ("in/cuts.json",)),
    "lhotse-pair": (
        "lhotse", ("train",), {},
        {"in/recordings.jsonl": _lines(_RECORDING), "in/supervisions.jsonl.gz": gzip.compress(_lines(_SAID), mtime=0)},
        ("in/recordings.jsonl", "in/supervisions.jsonl.gz"),
    ),
}  # fmt: skip
NAMES = tuple(_CORPORA)


def case(name: str) -> Tuple[Callable[[Path], None], Files, Tuple[str, ...]]:
    """(what reads a folder, its files, names of those that are damaged)."""
    corpus, splits, options, files, damaged = _CORPORA[name]

    def run(place: Path) -> None:
        source = place / "in" if corpus == "lhotse" else place
        if corpus == "commonvoice" and name.endswith("-tar"):
            source = place / "cv-corpus-1.tar"
        for root in (None, place):
            request = CorpusRequest(source=source, splits=splits, options=options, root=root, salt=lambda: b"salt")
            for utterance in find(corpus).utterances(request):
                utterance.id.encode("utf-8", "surrogatepass")
                TextRules().apply(utterance.text)
        find(corpus).recognizes(source)

    return run, files, damaged
