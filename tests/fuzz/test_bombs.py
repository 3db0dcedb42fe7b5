"""Small files that declare, or unpack to, something enormous: refused soon, in little memory, with a sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from . import parsers, workspace_files
from .bounded import asrctl

pytestmark = pytest.mark.fault("a small file that stands for an enormous one")

GOOD = 0.2 * np.sin(np.arange(16000) / 9.0)
TB = 1 << 40


def few(names: Iterable[Any], count: int) -> List[Any]:
    """The first `count` run with every test run, the others with `nox -s fuzz`."""
    full = (pytest.mark.slow, pytest.mark.fuzz_full)
    return [pytest.param(name, marks=full if number >= count else ()) for number, name in enumerate(names)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


def packed(samples: np.ndarray, container: str, subtype: str) -> bytearray:
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16000, format=container, subtype=subtype)
    return bytearray(stream.getvalue())


# -- audio ------------------------------------------------------------------------------------------------------------


def audio_bombs() -> Dict[str, bytes]:
    """Headers that promise hours, thousands of channels, or blocks of absurd sizes."""
    found: Dict[str, bytes] = {}
    wav = packed(GOOD[:1600], "WAV", "PCM_16")
    found["hours.wav"] = bytes(wav[:40] + struct.pack("<I", 40 * 3600 * 32000 % (1 << 32)) + wav[44:])
    found["streamed.wav"] = bytes(wav[:4] + b"\xff" * 4 + wav[8:40] + b"\xff" * 4 + wav[44:])
    found["channels.wav"] = bytes(wav[:22] + struct.pack("<H", 1024) + wav[24:32] + struct.pack("<H", 2048) + wav[34:])
    found["chunk.wav"] = bytes(wav[:12] + b"LIST\xf0\xff\xff\xff" + wav[12:])
    flac = packed(GOOD[:1600], "FLAC", "PCM_16")
    found["blocks.flac"] = bytes(flac[:8] + b"\xff\xff\xff\xff" + flac[12:])
    found["total.flac"] = bytes(flac[:21] + bytes([flac[21] | 0x0F]) + b"\xff\xff\xff\xff" + flac[26:])
    # A block of metadata of 16 MB, of which nothing is there.
    found["metadata.flac"] = bytes(flac[:4] + b"\x04\xff\xff\xff" + flac[4:])
    w64 = packed(GOOD[:1600], "W64", "PCM_16")
    place = w64.find(b"data")
    found["data.w64"] = bytes(w64[: place + 16] + struct.pack("<Q", 1 << 60) + w64[place + 24 :])
    rf64 = packed(GOOD[:1600], "RF64", "PCM_16")
    found["sizes.rf64"] = bytes(rf64[:20] + struct.pack("<QQQ", 1 << 62, 1 << 62, 1 << 62) + rf64[44:])
    caf = packed(GOOD[:1600], "CAF", "PCM_16")
    place = caf.find(b"data")
    found["data.caf"] = bytes(caf[: place + 4] + struct.pack(">Q", 1 << 62) + caf[place + 12 :])
    aiff = packed(GOOD[:1600], "AIFF", "PCM_16")
    place = aiff.find(b"COMM")
    found["frames.aiff"] = bytes(aiff[: place + 10] + b"\xff\xff\xff\xff" + aiff[place + 14 :])
    au = packed(GOOD[:1600], "AU", "PCM_16")
    found["size.au"] = bytes(au[:8] + b"\xff\xff\xff\xf0" + au[12:])
    mp3 = packed(GOOD, "MP3", "MPEG_LAYER_III")
    place = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    found["frames.mp3"] = bytes(mp3[: place + 8] + b"\xff\xff\xff\xff" + mp3[place + 12 :])
    found["tag.mp3"] = b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(mp3)
    return found


def test_headers_that_promise_too_much(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    good = bytes(packed(GOOD, "WAV", "PCM_16"))
    files = {f"train/{name}": data for name, data in audio_bombs().items()}
    files.update({"train/good.wav": good, "dev/good.wav": good})
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        (folder / f"{name}.txt").write_text("some words\n", encoding="utf-8")
    done = asrctl(place, "prepare", "folder", folder, "--max-rejects", 1, "--workers", 2)
    done.within(seconds=120, peak_mb=600)
    counts = done.result["splits"]
    assert sum(split["utterances"] + split["rejected"] for split in counts.values()) == len(files)
    assert sum(folder.stat().st_size for folder in place.rglob("shard-*.arrow")) < 1e6, "nothing was made up"


# -- archives ---------------------------------------------------------------------------------------------------------

_ZEROS = bytes(1 << 20)


def gzip_of_zeros(head: bytes, gigabytes: float, *, members: bool) -> bytes:
    """`head`, then zeros; a thousandth of them in bytes. One deflate stream, or many gzip members."""
    megabytes = int(gigabytes * 1024)
    if members:
        return gzip.compress(head, 1) + gzip.compress(_ZEROS * 64, 9) * (megabytes // 64)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(_ZEROS * 16) + packer.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\3"
    return header + begin + block * (megabytes // 16) + zlib.compressobj(9, zlib.DEFLATED, -15).flush() + bytes(8)


def tar_header(name: str, size: int, kind: bytes = b"0") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


_AUDIO = "LibriSpeech/dev-clean/1/2/1-2-{}.flac"
ARCHIVE_BOMBS = {
    "ten GB of nothing": lambda: gzip_of_zeros(b"", 10, members=False),
    "ten GB of nothing, in members": lambda: gzip_of_zeros(b"", 10, members=True),
    "one file of ten GB": lambda: gzip_of_zeros(tar_header(_AUDIO.format(0), 10 << 30), 10, members=False),
    "one file of half a GB": lambda: gzip_of_zeros(tar_header(_AUDIO.format(0), 1 << 29), 10, members=False),
    "a text of half a GB": lambda: gzip_of_zeros(
        tar_header("LibriSpeech/dev-clean/1/2/1-2.trans.txt", 1 << 29), 10, members=False
    ),
    "a name of half a GB": lambda: gzip_of_zeros(tar_header("x", 1 << 29, b"L"), 10, members=False),
    "a device of half a GB": lambda: gzip_of_zeros(tar_header("x", 1 << 29, b"4"), 10, members=False),
    "a promise of eight TB": lambda: gzip.compress(tar_header(_AUDIO.format(0), 8 * TB)),
    "half a million empty files": lambda: _many(500_000),
}


def _many(count: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    block = b"".join(tar_header(f"LibriSpeech/dev-clean/1/2/1-2-{number}.txt", 0) for number in range(1000))
    return b"".join([*(packer.compress(block) for _ in range(count // 1000)), packer.flush()])


@pytest.mark.parametrize("name", few(ARCHIVE_BOMBS, 3))
def test_archives_that_unpack_to_too_much(name: str, place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "dev-clean.tar.gz"
    archive.write_bytes(ARCHIVE_BOMBS[name]())
    assert archive.stat().st_size < 50e6
    done = asrctl(place, "prepare", "librispeech", tmp_path, "--train", "dev-clean")
    assert done.within(seconds=120, peak_mb=500).error["kind"] == "data"


def test_members_that_lead_elsewhere_touch_nothing(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("as it was", encoding="utf-8")
    flac = bytes(packed(GOOD, "FLAC", "PCM_16"))
    members: List[Tuple[str, bytes, bytes, str]] = [
        (_AUDIO.format(0), tarfile.REGTYPE, flac, ""),
        (
            "LibriSpeech/dev-clean/1/2/1-2.trans.txt",
            tarfile.REGTYPE,
            b"1-2-0 WORDS\n../../../../x WORDS\n/etc/x WORDS\n",
            "",
        ),
        (f"{outside}/dev-clean/1/2/absolute.flac", tarfile.REGTYPE, flac, ""),
        ("../outside/dev-clean/1/2/up.flac", tarfile.REGTYPE, flac, ""),
        ("LibriSpeech/dev-clean/1/2/../../../../outside/dev-clean/1/2/within.flac", tarfile.REGTYPE, flac, ""),
        ("LibriSpeech/dev-clean/1/2/soft.flac", tarfile.SYMTYPE, b"", f"{outside}/kept"),
        ("LibriSpeech/dev-clean/1/2/hard.flac", tarfile.LNKTYPE, b"", f"{outside}/kept"),
        ("LibriSpeech/dev-clean/1/2/disk.flac", tarfile.BLKTYPE, b"", ""),
        ("LibriSpeech/dev-clean/1/2/tty.flac", tarfile.CHRTYPE, b"", ""),
        ("LibriSpeech/dev-clean/1/2/pipe.flac", tarfile.FIFOTYPE, b"", ""),
        ("LibriSpeech/dev-clean/1/2/sparse.flac", tarfile.GNUTYPE_SPARSE, b"", ""),
        ("LibriSpeech/dev-clean/1/2/pax-sparse.flac", tarfile.REGTYPE, flac, ""),
    ]
    with tarfile.open(str(tmp_path / "dev-clean.tar.gz"), "w:gz") as tar:
        for name, kind, data, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname, info.mode = kind, len(data), link, 0o6777
            if "pax-sparse" in name:
                info.pax_headers = {
                    "GNU.sparse.major": "1",
                    "GNU.sparse.realsize": str(8 * TB),
                    "GNU.sparse.name": "/x",
                }
            tar.addfile(info, io.BytesIO(data))
    done = asrctl(place, "prepare", "librispeech", tmp_path, "--train", "dev-clean", "--max-rejects", 1)
    done.within(seconds=120, peak_mb=500)
    assert done.exit_code in (0, 5), done
    assert [path.name for path in outside.iterdir()] == ["kept"]
    known = {"outside", "workspace", "dev-clean.tar.gz", "stdout.txt", "stderr.txt"}
    assert {path.name for path in tmp_path.iterdir()} == known
    assert not [path for path in place.rglob("*") if path.is_symlink() or path.suffix == ".flac"]


# -- texts ------------------------------------------------------------------------------------------------------------


def _sparse(path: Path, head: bytes, size: int) -> Path:
    """A file of `size` bytes that takes no room: `head`, then zeros."""
    path.write_bytes(head)
    os.truncate(str(path), size)
    return path


def _alias_bomb() -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 20)]
    return b"\n".join(lines)


PRESET_BOMBS = {
    "aliases": _alias_bomb,
    "merged aliases": lambda: b"a: &a {b: 1}\nmodel: {<<: [" + b"*a, " * 9000 + b"*a]}\n",
    "brackets": lambda: b"model: " + b"[" * 90_000,
    "braces": lambda: b"{a: " * 20_000,
    "dashes": lambda: b"- " * 45_000,
    "digits": lambda: b"optim: {seed: " + b"9" * 90_000 + b"}",
    "sexagesimals": lambda: b"optim: {seed: 1" + b":59" * 30_000 + b"}",
    "a float": lambda: b"optim: {epochs: 1e" + b"9" * 5000 + b"}",
    "keys": lambda: b"".join(b"k%d: 1\n" % n for n in range(11_000)),
    "a gigabyte": lambda: b"",
}


@pytest.mark.parametrize("name", few(PRESET_BOMBS, 2))
def test_presets_that_grow(name: str, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(PRESET_BOMBS[name]())
    if name == "a gigabyte":
        _sparse(path, b"name: x\n", 1 << 30)
    done = asrctl(place, "presets", "check", path).within(seconds=120, peak_mb=400)
    assert done.error["kind"] == "preset"


def _long_line(path: Path) -> None:
    _sparse(path, b'{"path": "', 1 << 30)


def _real_line(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.write(b'{"path": "a.wav", "text": "')
        for _ in range(1024):
            stream.write(b"a" * (1 << 20))
        stream.write(b'"}\n')


def _huge_field(path: Path) -> None:
    with open(path, "wb") as stream:
        stream.write(b'path,text\na.wav,"')
        for _ in range(300):
            stream.write((b"a" * 1000 + b"\n") * 1000)
        stream.write(b'"\n')


def _columns(path: Path) -> None:
    path.write_bytes(b"path,text" + b",x" * 500_000 + b"\n" + b"," * 900_000)


MANIFEST_BOMBS: Dict[str, Any] = {
    "zeros.jsonl": _long_line,
    "line.jsonl": _real_line,
    "nested.jsonl": lambda path: path.write_bytes(b'{"path": ' + b"[" * 500_000 + b"\n"),
    "objects.jsonl": lambda path: path.write_bytes(b'{"a":' * 150_000 + b"\n"),
    "number.jsonl": lambda path: path.write_bytes(b'{"path": "a", "text": "b", "start": ' + b"9" * 900_000 + b"}\n"),
    "field.csv": _huge_field,
    "columns.csv": _columns,
    "zeros.csv": lambda path: _sparse(path, b"path,text\n", 1 << 30),
    "quote.tsv": lambda path: _sparse(path, b'"path"\t"text"\n"', 1 << 30),
}


@pytest.mark.parametrize("name", few(MANIFEST_BOMBS, 2))
def test_lists_that_grow(name: str, place: Path, tmp_path: Path) -> None:
    MANIFEST_BOMBS[name](tmp_path / name)
    done = asrctl(place, "prepare", "manifest", tmp_path / name).within(seconds=120, peak_mb=400)
    assert done.error["kind"] == "data"


def test_folders_deeper_than_the_stack(place: Path) -> None:
    # Not below pytest's own folder: what clears that away is a recursion too, and a test can be killed.
    with tempfile.TemporaryDirectory(prefix="asrctl-deep-") as name:
        try:
            _nest(Path(name) / "corpus", 1200)
            done = asrctl(place, "prepare", "folder", Path(name) / "corpus").within(seconds=120, peak_mb=400)
        finally:
            subprocess.run(["rm", "-rf", str(Path(name) / "corpus")], check=True)
    assert done.error["kind"] == "data" and "deep" in done.error["message"]


def _nest(folder: Path, depth: int) -> None:
    folder.mkdir()
    here = os.open(str(folder), os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


# -- pipes and devices ------------------------------------------------------------------------------------------------


def test_pipes_and_devices_make_nobody_wait(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "listed").mkdir(parents=True)
    for name in ("one", "two", "three"):
        (folder / f"{name}.wav").write_bytes(bytes(packed(GOOD, "WAV", "PCM_16")))
        (folder / f"{name}.txt").write_text("words\n", encoding="utf-8")
    for name in ("pipe.wav", "text.txt", "text.wav"):
        os.mkfifo(str(folder / name))
    for name, target in (
        ("zero.wav", "/dev/zero"),
        ("zero.txt", "/dev/zero"),
        ("gone.txt", "/nowhere"),
        ("loop.txt", "loop.txt"),
    ):
        (folder / name).symlink_to(target)
    done = asrctl(place, "prepare", "folder", folder, "--max-rejects", 1).within(seconds=120, peak_mb=500)
    assert sum(split["utterances"] for split in done.result["splits"].values()) == 3
    os.mkfifo(str(folder / "listed" / "metadata.csv"))
    assert asrctl(place, "prepare", "folder", folder, "--max-rejects", 1).within(seconds=120, peak_mb=500).error
    chapter = tmp_path / "LibriSpeech" / "dev-clean" / "1" / "2"
    chapter.mkdir(parents=True)
    os.mkfifo(str(chapter / "1-2.trans.txt"))
    assert (
        asrctl(place, "prepare", "librispeech", tmp_path, "--train", "dev-clean").within(seconds=120, peak_mb=500).error
    )


@pytest.mark.parametrize("kind", few(["zero", "pipe"], 1))
def test_files_of_a_checkpoint_may_be_anything(kind: str, place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("vocab.json", "config.json", "p.yaml", "model.safetensors", "ipu_config.json"):
        if kind == "zero":
            (folder / name).symlink_to("/dev/zero")
        else:
            os.mkfifo(str(folder / name))
    corpus = tmp_path / "list.csv"
    corpus.write_text("path,text\na.wav,words\n", encoding="utf-8")
    for words in (
        ("vocab", "manifest", corpus, "--from", folder),
        ("presets", "check", folder / "p.yaml"),
        ("presets", "import", folder),
    ):
        assert asrctl(place, *words).within(seconds=120, peak_mb=500).error, words


# -- weights, settings and prepared speech ----------------------------------------------------------------------------


def _checkpoint(folder: Path, **changed: Any) -> Path:
    """A folder with the settings and the vocabulary of a tiny model; weights are up to the caller."""
    folder.mkdir()
    for name, data in parsers.checkpoint_files().items():
        (folder / name).write_bytes(data)
    values = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(dict(values, **changed)), encoding="utf-8")
    return folder


def _claiming(header: Dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(64)


def _deflated(megabytes: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as entries:
        entries.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        with entries.open("archive/data/0", "w", force_zip64=True) as entry:
            for _ in range(megabytes):
                entry.write(_ZEROS)
    return stream.getvalue()


WEIGHT_BOMBS: Dict[str, Tuple[str, Any]] = {
    "a header of exabytes": ("model.safetensors", lambda: struct.pack("<Q", 1 << 62) + b"{" * 64),
    "tensors of terabytes": (
        "model.safetensors",
        lambda: _claiming(
            {"lm_head.weight": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 4 * TB]}}
        ),
    ),
    "a million names": (
        "model.safetensors",
        lambda: _claiming({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(200_000)}),
    ),
    "compressed zeros": ("pytorch_model.bin", lambda: _deflated(4000)),
    "nested index": ("model.safetensors.index.json", lambda: b'{"weight_map":' + b"[" * 900_000),
}


@pytest.mark.parametrize("name", few(WEIGHT_BOMBS, 1))
def test_weights_that_promise_too_much(name: str, tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "model")
    file, make = WEIGHT_BOMBS[name]
    (folder / file).write_bytes(make())
    place = _prepared_workspace(tmp_path)
    done = asrctl(place, "eval", "--model", folder, "--device", "cpu").within(seconds=120, peak_mb=900)
    assert done.error["kind"] in ("data", "missing")


CONFIG_BOMBS: Dict[str, Dict[str, Any]] = {
    "wide": {"hidden_size": 1 << 16, "num_attention_heads": 2},
    "wider": {"hidden_size": 1 << 40},
    "deep": {"num_hidden_layers": 10**9},
    "deep enough": {"num_hidden_layers": 999, "hidden_size": 4096},
    "labels": {"num_labels": 10**9, "id2label": {str(n): "x" for n in range(1000)}},
    "convolutions": {"conv_dim": [1 << 16] * 7, "conv_kernel": [1 << 16] * 7, "conv_stride": [1] * 7},
    "many convolutions": {"conv_dim": [1] * 100_000, "conv_kernel": [1] * 100_000, "conv_stride": [1] * 100_000},
    "positions": {"num_conv_pos_embeddings": 1 << 16, "hidden_size": 4096, "num_conv_pos_embedding_groups": 1},
    "adapters": {
        "add_adapter": True,
        "num_adapter_layers": 1000,
        "output_hidden_size": 1 << 15,
        "adapter_kernel_size": 99,
    },
    "words for numbers": {"hidden_size": "eight", "layerdrop": []},
    "zeros": {"hidden_size": 0, "num_attention_heads": 0, "conv_stride": [0, 0]},
}


@pytest.mark.parametrize("name", few(CONFIG_BOMBS, 1))
def test_settings_that_ask_for_giants(name: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder = _checkpoint(tmp_path / "model", **CONFIG_BOMBS[name])
    save_file({"lm_head.weight": torch.ones(9, 8), "lm_head.bias": torch.zeros(9)}, str(folder / "model.safetensors"))
    place = _prepared_workspace(tmp_path)
    done = asrctl(place, "eval", "--model", folder, "--device", "cpu").within(seconds=120, peak_mb=900)
    assert done.error["kind"] == "data"


def _prepared_workspace(tmp_path: Path) -> Path:
    place = tmp_path / "workspace"
    for name, data in workspace_files.made(tmp_path / "made").items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return place


def _compressed_shard(path: Path) -> None:
    """A gigabyte of zeros as samples, in some kilobytes."""
    from asrctl.data.shard_files import SCHEMA

    count = 1 << 29
    samples = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), pa.array(np.zeros(count, np.int16)))
    columns = [["a"], ["s"], ["x"], [count], [1], [0], [[1]]]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA)]
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA, options=options) as writer:
        writer.write_batch(pa.record_batch([*arrays, samples], schema=SCHEMA))


def _endless_lengths(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 2 * (1600 + 1601)), struct.pack("<q", 1 << 40)))


def _offsets(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<iii", 0, 1600, 3201), struct.pack("<iii", 0, 1 << 30, 0x7FFFFFFF)))


@pytest.mark.parametrize("make", few([_compressed_shard, _endless_lengths, _offsets], 1))
def test_shards_that_promise_too_much(make: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    place = _prepared_workspace(tmp_path)
    shard = next(place.glob("prepared/*/eval/shard-00000.arrow"))
    before = shard.read_bytes()
    make(shard)
    assert shard.read_bytes() != before and shard.stat().st_size < 1e7
    folder = _checkpoint(tmp_path / "model")
    save_file({"lm_head.weight": torch.ones(9, 8)}, str(folder / "model.safetensors"))
    done = asrctl(place, "eval", "--model", folder, "--device", "cpu").within(seconds=120, peak_mb=900)
    assert done.error["kind"] == "data" and "shard-00000.arrow" in done.error["message"], done.error
