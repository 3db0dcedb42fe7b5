"""Every reader of files that somebody else may have written, with the valid files it is fuzzed from.

A parser reads what lies in a folder. `files` is the valid rest of the folder; each seed is a file that takes its place
there, damaged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from asrctl.config import presets
from asrctl.data import audio, rejects
from asrctl.data.corpora import folder, librispeech, manifest
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading import archives
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.data.utterance import split_path
from asrctl.errors import AsrctlError
from asrctl.models import processor, weights
from asrctl.storage import stat_cache
from asrctl.storage.workspace import Workspace
from asrctl.training import checkpoints, metrics_log, runs
from asrctl.training.trainer_state import TrainerState

from . import hub_files, language_models, published, texts

ROOT = Path(__file__).resolve().parent.parent.parent
Seeds = List[Tuple[str, bytes]]


@dataclass(frozen=True)
class Parser:
    """run: reads the folder. finish: mends what would stop a damaged file at the door, such as a checksum."""

    run: Callable[[Path], Any]
    seeds: Seeds
    files: Dict[str, bytes] = field(default_factory=dict)
    finish: Callable[[bytes], bytes] = bytes
    refusals: Tuple[type, ...] = (AsrctlError,)
    reasons: Tuple[str, ...] = ()


# -- audio ------------------------------------------------------------------------------------------------------------

_RULES = audio.AudioRules(max_s=2.0)


def _audio(place: Path) -> None:
    path = place / "a.bin"
    audio.duration_s(path)
    refused = None
    for source, stretch in ((path, (None, None)), (io.BytesIO(path.read_bytes()), (0.01, 0.03))):
        try:
            pcm = audio.decode(source, _RULES, *stretch)
        except audio.Rejected as rejected:
            if rejected.reason not in audio.REASONS:
                raise
            refused = rejected
            continue
        if pcm.dtype != "int16" or pcm.ndim != 1 or len(pcm) > _RULES.max_s * _RULES.sample_rate:
            raise AssertionError(f"{pcm.dtype} {pcm.shape} came out")
    if refused is not None:
        raise refused


def _audio_parser(name: str) -> Parser:
    from . import audio_files

    seeds = audio_files.seeds()[name]
    return Parser(_audio, seeds, refusals=(audio.Rejected,), reasons=tuple(audio.REASONS))


# -- lists and transcripts --------------------------------------------------------------------------------------------

_CSV = b"""path,text,split,speaker,id,start,end,duration
a.wav,"hello, world",train,s1,u1,0.5,1.25,
"sub/b.wav",HE SAID \xc2\xabNO\xc2\xbb,dev,s2,u2,,,3.5
c.tar.gz::d.wav,\xc3\xa9\xc3\xa0 |,test,,,,2,
"""
_TIMES = b"""sep=;
path;text;begin_ms;End Sample;channel;set
rec\\A.wav;"he said \\"no\\"";500;16000;1;train
file:///x%20y.wav;"it""s" odd;0:00:01.5;2;2;test
"""
_SEMICOLONS = _CSV.replace(b",", b";").replace(b'"hello; world"', b"hello").replace(b"path", b"\xef\xbb\xbfaudio")
_TSV = b'file\tsentence\tclient_id\tsplit\na.wav\the said "no\tx\tdev\nb.wav\t"he said ""yes"""\ty\ttrain\n'
_QUOTED_TSV = b'"path"\t"text"\n"a.wav"\t"two ""quoted"" words"\n'
_JSONL = (
    b'{"audio_filepath": "a.wav", "text": "hello", "duration": 1.5, "offset": 0.25, "speaker": 7}\n'
    b'{"path": "b.wav", "text": "\\u00e9t\\u00e9", "split": "valid", "start": 1, "end": 2.5}\n\n'
    b'{"path": "c.wav", "text": "", "id": "x", "extra": {"a": [1, null]}}\n'
    b'{"audio": {"path": "d.wav"}, "text": NaN, "segment": {"start": 0.5, "end": 1}, "speaker": NaN}\n'
)


def _manifest(place: Path) -> None:
    for path in sorted(place.glob("list.*")):
        for root in (None, place):
            for inside in (None, "dev"):
                for utterance in manifest.read(path, root=root, inside=inside):
                    utterance.id.encode("utf-8")
                    _text_of(utterance.text)
        list(manifest.utterances(CorpusRequest(source=path)))


_VOCABULARY = build_vocabulary(dict.fromkeys("abcdefghijklmnopqrstuvwxyz' ", 1), TextRules())


def _text_of(text: str) -> None:
    for rules in (TextRules(), TextRules("upper", remove=".,!\u0301"), TextRules("keep")):
        learned = rules.apply(text)
        _VOCABULARY.decode(_VOCABULARY.encoder()(learned)[0])


def _folder(place: Path) -> None:
    for root in (None, place):
        for utterance in folder.utterances(CorpusRequest(source=place, root=root)):
            _text_of(utterance.text)
    for utterance in folder.utterances(CorpusRequest(source=place / "train")):
        _text_of(utterance.text)


_FOLDER = {
    "dev/a.wav": b"",
    "dev/a.txt": b"HELLO WORLD\n",
    "train/b.flac": b"",
    "train/b.wav.txt": b"",
    "train/c.bin": b"",
    "data/dev-clean/1/d.opus": b"",
    "data/test-clean/1/d.opus": b"",
    "mic-test/e.wav": b"",
    "train_dev/f.wav": b"",
}
_FOLDER_SEEDS = [
    ("dev/a.txt", b"HELLO WORLD\n"),
    ("dev/a.txt", "\ufeffI\u0307 \u00e9te\u0301 \ufb01\u2028x\0y".encode()),
    ("train/c.txt", b"one\r\ntwo\r\n"),
    ("train/c.txt", "z\u00e9ro \U0001f600\n".encode("utf-16")),
    ("sub/metadata.csv", b"file_name,transcription\na.wav,hello\nb.wav,world\n"),
    ("sub/metadata.jsonl", b'{"file_name": "a.wav", "transcription": "hello"}\n'),
    ("metadata.tsv", b"file_name\ttranscription\ndev/a.wav\thello\n"),
]

_TRANS = b"84-1-0000 HE WAS NOT\n84-1-0001 AN IDEA\n84-1-0002 \xc3\x89T\xc3\x89\n"


def _librispeech(place: Path) -> None:
    for root in (None, place):
        request = CorpusRequest(source=place, splits=("dev-clean",), optional_splits=("test",), root=root)
        for utterance in librispeech.utterances(request):
            _text_of(utterance.text)
            if ".." in Path(utterance.audio).parts or not utterance.audio.startswith(str(place)):
                raise AssertionError(f"{utterance.audio} lies elsewhere")


# -- archives ---------------------------------------------------------------------------------------------------------


def _tar(style: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=style) as tar:
        long = "LibriSpeech/dev-clean/84/1/" + "n" * 120 + ".flac"
        for name, data in (
            ("LibriSpeech/dev-clean/84/1/84-1-0000.flac", b"fLaC" * 100),
            ("LibriSpeech/dev-clean/84/1/84-1.trans.txt", _TRANS),
            ("./LibriSpeech/dev-clean/84/1/84-1-0001.flac", b""),
            (long, b"x" * 513),
        ):
            entry = tarfile.TarInfo(name[-95:] if style == tarfile.USTAR_FORMAT else name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            entry = tarfile.TarInfo(f"LibriSpeech/dev-clean/84/1/link{kind.decode()}.flac")
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    return stream.getvalue()[:10240]


def _summed(data: bytes) -> bytes:
    """A tar whose headers have the right checksums again, in two of three cases."""
    if len(data) % 3 == 0:
        return data
    changed = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if changed[at + 257 : at + 262] == b"ustar":
            total = sum(changed[at : at + 148]) + sum(changed[at + 156 : at + 512]) + 8 * 32
            changed[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(changed)


def _archive(place: Path) -> None:
    for path in sorted(place.iterdir()):
        for member in archives.members(path):
            member.read(1 << 10)
        reader = archives.MemberReader(path)
        reader.read("LibriSpeech/dev-clean/84/1/84-1-0001.flac")
        split_path(f"{path}::x")
        request = CorpusRequest(source=path, splits=("dev-clean",))
        for utterance in librispeech.utterances(request):
            _text_of(utterance.text)


# -- presets ----------------------------------------------------------------------------------------------------------

_PRESET = b"""# comment
extends: parent
name: mine
description: "a \\u00e9 b"
model: {head: reinit, config: {hidden_size: 48}, spec_augment: {time_prob: 0.05}}
audio: {max_s: 15.6, min_s: 1}
text:
  case: upper
  remove: ".,"
  vocab_splits: [train, eval]
optim:
  learning_rate: 3e-4
  adam_betas: [0.9, 0.98]
  epochs: 3
  max_grad_norm: null
batches: {shapes: static, max_labels: 400}
ipu: {pod: 8, layers_per_ipu: [9, 4, 4, 4]}
"""


# The presets that asrctl brings are long, and YAML is read slowly: what the damaged one stands on is short.
_PARENT = b"ipu: {ipus_per_replica: 4, layers_per_ipu: [3, 3, 3, 3], inference_device_iterations: 4}\n"


def _preset(place: Path) -> None:
    workspace = place / "w"
    resolved = presets.load(str(place / "p.yaml"), workspace=workspace)
    _plain_json(resolved.recipe.as_dict())
    if sum((place / "p.yaml").read_bytes()) % 32:
        return  # the rest is slow
    stored = place / "stored.yaml"
    stored.write_text(presets.dumps(resolved.recipe), encoding="utf-8")
    if presets.load_stored(stored).experiment() != resolved.recipe.experiment():
        raise AssertionError("the stored recipe is another")
    _plain_json(resolved.recipe.as_dict())
    presets.check(place / "p.yaml")
    presets.available(workspace)
    presets.load("named", workspace=workspace)


def _plain_json(value: Any) -> None:
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8")


_MOST_WORDS = 10  # each is bounded in time, but not their number: people type few


def _overrides(place: Path) -> None:
    words = (place / "words.txt").read_bytes().decode("utf-8", "surrogateescape").split("\n")[:_MOST_WORDS]
    resolved = presets.load(str(place / "short.yaml"), overrides=words)
    presets.override(resolved.recipe, words, place)
    _plain_json(resolved.recipe.as_dict())


_OVERRIDES = (
    b'optim.learning_rate=1e-4\nmodel.checkpoint=/a/b\ntext.remove=".,"\nipu.layers_per_ipu=[1, 2]\nmodel.config.x=1'
)

_IPU_OLD = {
    "layers_per_ipu": {"pod4": [4, 4, 2, 2], "pod8": [4, 4, 2, 2]},
    "ipus_per_replica": 4,
    "replication_factor": {"pod4": 1, "pod8": 2, "pod16": 4, "default": 1},
    "training_gradient_accumulation_steps": 16,
    "matmul_proportion": [0.1, 0.2, 0.2, 0.2],
    "inference_device_iterations": 4,
    "seed": 7,
    "use_popdist": False,
    "output_mode": "default",
    "enable_half_first_order_momentum": True,
}
_IPU_NEW = {
    "layers_per_ipu": [9, 4, 4, 4],
    "ipus_per_replica": 4,
    "gradient_accumulation_steps": 32,
    "optimum_version": "1.6",
}
_IPU_SMALL = {"gradient_accumulation_steps": 8, "layers_per_ipu": [-1]}


def _ipu_config(place: Path) -> None:
    from asrctl.commands.import_preset import ImportRequest, import_preset

    result = import_preset(
        Workspace(place / "w"), ImportRequest(str(place / "ipu_config.json"), place / "out.yaml", True)
    )
    presets.load(str(result.path))


# -- vocabularies, settings and weights -------------------------------------------------------------------------------


def _vocabulary(place: Path) -> None:
    vocabulary = processor.read_vocabulary(place)
    with tempfile.TemporaryDirectory(dir=str(place)) as name:
        vocabulary.save(Path(name))
        if Vocabulary.load(Path(name)) != vocabulary:
            raise AssertionError("the stored vocabulary is another")
    _plain_json(vocabulary.as_dict())
    vocabulary.decode(list(range(len(vocabulary))))
    vocabulary.encoder()("some text")
    processor.read_features(place, layer_norm=True)


def _vocabulary_files() -> Tuple[Dict[str, bytes], Seeds]:
    tokens = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"eta'"])}
    config = {
        "unk_token": "<unk>", "pad_token": {"content": "<pad>", "lstrip": False}, "word_delimiter_token": "|",
        "tokenizer_class": "Wav2Vec2CTCTokenizer", "do_lower_case": False, "auto_map": {"AutoTokenizer": ["x.py"]},
    }  # fmt: skip
    features = {"sampling_rate": 16000, "do_normalize": True, "return_attention_mask": False}
    files = {
        "vocab.json": json.dumps(tokens).encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "special_tokens_map.json": b'{"pad_token": "<pad>", "bos_token": "<s>"}',
        "preprocessor_config.json": json.dumps(features).encode(),
    }
    others = {
        "special_tokens.json": b'{"word_delimiter": "|", "unk": "<unk>", "pad": "<pad>", "lower_case": true}',
        "added_tokens.json": b'{"[laugh]": 9, "[noise]": 10}',
        "tokenizer.json": b'{"added_tokens": [{"id": 9, "content": "[laugh]", "special": true}]}',
        "processor_config.json": json.dumps({"feature_extractor": features}).encode(),
        "config.json": b'{"model_type": "wav2vec2", "vocab_size": 11, "tokenizer_class": "Wav2Vec2CTCTokenizer"}',
    }
    decoder = dict(config, added_tokens_decoder={"9": {"content": "[laugh]", "special": False}})
    return files, [*files.items(), *others.items(), ("tokenizer_config.json", json.dumps(decoder).encode())]


def _weights(place: Path) -> None:
    weights.find_checkpoint(str(place))
    with contextlib.suppress(AsrctlError):
        weights.find_checkpoint(str(place / "nowhere"))
    with contextlib.suppress(AsrctlError):
        weights.read_config(place)
    found, shapes = weights.read_weights(place), weights.read_shapes(place)
    if {name: tuple(tensor.shape) for name, tensor in found.items()} != {n: item.shape for n, item in shapes.items()}:
        raise AssertionError("a dry run would see other weights")
    for name, tensor in found.items():
        name.encode("utf-8")
        tensor.float().sum()


def _weight_seeds() -> Seeds:
    import torch
    from safetensors.torch import save

    tensors = {"lm_head.weight": torch.ones(3, 4), "lm_head.bias": torch.zeros(3), "a.weight_g": torch.ones(1)}
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save(tensors, zipped)
    torch.save(tensors, legacy, _use_new_zipfile_serialization=False)
    index = {"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "model-1.safetensors"}}
    return [
        ("model.safetensors", save(tensors)),
        ("pytorch_model.bin", zipped.getvalue()),
        ("pytorch_model.bin", legacy.getvalue()),
        ("model.safetensors.index.json", json.dumps(index).encode()),
    ]


_TINY = {
    "model_type": "wav2vec2", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "conv_dim": [4, 4], "conv_kernel": [4, 2], "conv_stride": [2, 2],
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 2, "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "group", "vocab_size": 9, "pad_token_id": 0, "hidden_act": "gelu", "architectures": ["X"],
    "auto_map": {"AutoModel": "x.Y"}, "torch_dtype": "float16", "id2label": {"0": "a"}, "layerdrop": 0.1,
}  # fmt: skip


def checkpoint_files() -> Dict[str, bytes]:
    """The JSON files of a tiny checkpoint."""
    return dict(_vocabulary_files()[0], **{"config.json": json.dumps(_TINY).encode()})


def _config(place: Path) -> None:
    from asrctl.models import loading

    loading.load_shell(place)


# -- audits -----------------------------------------------------------------------------------------------------------

_FINDING = {
    "kind": "label-doubt", "id": "a.wav", "split": "train", "text": "ab", "heard": "a", "score": 2.5, "rank": 1,
    "detail": "2.5 nats a character less likely than what was heard: a",
}  # fmt: skip
_SILENT = {
    "kind": "silence", "id": "b.wav", "split": "eval", "text": "b", "where": "before", "silent_s": 3.0, "seconds": 5.0,
    "detail": "3.0 s of silence before the speech",
}  # fmt: skip
_KIND = {"title": "t", "advice": "do `this`", "count": 1, "splits": {"train": 1}}
_REPORT = {
    "schema": 1, "data": "x", "id": "0123456789ab", "sample_rate": 16000, "findings": 2, "facts": ["so it is"],
    "splits": {"train": {"utterances": 9, "seconds": 30.5}}, "run": "r", "ranking": [_FINDING],
    "kinds": [dict(_KIND, kind=one["kind"], findings=[one]) for one in (_FINDING, _SILENT)],
    "charts": [{"name": "n", "title": "t", "unit": "s", "start": 0.5, "width": 0.25, "counts": [3, 0, 1]}],
}  # fmt: skip


def _audit(place: Path) -> None:
    from asrctl.cli import audit as shown
    from asrctl.commands import audit
    from asrctl.reports import audit_page
    from asrctl.storage.workspace import Artifact

    artifact = Artifact("audits", "0123456789ab", place, {})
    result = audit.AuditResult(artifact, audit.read_report(artifact), True, None)
    json.dumps(result.as_dict(), allow_nan=False)
    shown.result_lines(result)
    audit_page.render(result.report, lambda split, identity: None).encode("utf-8")


def _drop(place: Path) -> None:
    from asrctl.data import drop_list
    from asrctl.events import ignore

    (path,) = place.iterdir()
    for identity, reason in drop_list.read(path, ignore).items():
        rejects.Reject(identity, "a.wav", rejects.DROPPED, reason)


# -- what lies in a workspace -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def _workspace_files() -> Dict[str, bytes]:
    """A workspace with a vocabulary, prepared data, a run, an evaluation and an export, all small."""
    from . import workspace_files

    with tempfile.TemporaryDirectory() as name:
        return workspace_files.made(Path(name) / "w")


def _workspace(place: Path) -> None:
    from asrctl.commands import clean, select, status

    workspace = Workspace(place)
    json.dumps(status.status(workspace).as_dict(), allow_nan=False)
    clean.plan(workspace)
    for kind in ("vocab", "prepared", "manifests", "evals", "exports"):
        workspace.names(kind)
        workspace.all(kind)
        workspace.resolve(kind, None, fix="x") if workspace.latest(kind) else None
    run = runs.require(workspace, None)
    run.info(), run.recipe()
    found = select.find_model(workspace, None, None)
    select.find_data(workspace, found, None)


def _workspace_seeds() -> Seeds:
    names = ("workspace.json", "refs/", "meta.json", "run.json", "recipe.yaml")
    return [(name, data) for name, data in _workspace_files().items() if any(part in name for part in names)]


def _prepared(place: Path) -> None:
    from asrctl.data.dataset import PreparedData

    workspace = Workspace(place)
    data = PreparedData(workspace.resolve("prepared", None, fix="x"))
    vocabulary = data.vocabulary()
    for name in data.splits:
        split = data.split(name)
        for index in range(min(len(split), 50)):
            item = split[index]
            item.id.encode("utf-8"), item.text.encode("utf-8"), split.text(index), split.id(index)
            vocabulary.decode(item.labels.tolist())
            if len(item.pcm) != split.num_samples[index] or len(item.labels) != split.num_labels[index]:
                raise AssertionError("lengths differ")
            int(item.pcm.astype("int64").sum())
        split.only(split.num_samples.argsort()[:1])
        float(split.seconds)
        list(rejects.read(split.folder / rejects.FILE))
        _texts(split)


def _texts(split: Any) -> None:
    for item in split:
        item.text.split()


def _prepared_seeds() -> Seeds:
    return [(name, data) for name, data in _workspace_files().items() if name.startswith("prepared/")]


def _checkpoint(place: Path) -> None:
    steps = checkpoints.steps(place / "checkpoints")
    latest = checkpoints.latest_valid(place / "checkpoints")
    if not steps or latest.checkpoint is None:
        return
    dataclasses.replace(latest.checkpoint.state)
    for tensor in [*latest.checkpoint.model().values(), *latest.checkpoint.optimizer().values()]:
        tensor.float().sum()


def _checkpoint_files() -> Tuple[Dict[str, bytes], Seeds]:
    import torch

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        tensors = {"a": torch.ones(3, 4), "b": torch.zeros(2)}
        state = TrainerState(step=4, best_step=2, best_wer=0.5, first_level=3.0)
        checkpoints.save(place, 4, model=tensors, optimizer=tensors, state=state)
        checkpoints.prune(place, keep=1, best_step=None, newest=4)
        checkpoints.clear_unfinished(place)
        found = {
            f"checkpoints/{path.relative_to(place).as_posix()}": path.read_bytes()
            for path in place.rglob("*")
            if path.is_file()
        }
    return found, list(found.items())


def _journal(place: Path) -> None:
    entries = metrics_log.read(place)
    json.dumps(entries)
    metrics_log.read(place, "eval")
    metrics_log.MetricsLog(place, resume_step=3).close()
    shutil.rmtree(str(place / "tensorboard"), ignore_errors=True)


_METRICS = b'{"kind": "train", "step": 1, "loss": 2.5}\n{"kind": "eval", "step": 2, "wer": null}\n{"kind": "train", "st'


def _hypotheses(place: Path) -> None:
    from asrctl.commands.evaluation_files import read_hypotheses
    from asrctl.evaluation.metrics import shuffled_wer

    rows = read_hypotheses(place / "hypotheses.jsonl")
    if len(rows) > 1:
        shuffled_wer([row["reference"] for row in rows], [row["hypothesis"] for row in rows], 1)


_HYPOTHESES = (
    b'{"id": "a", "reference": "one two", "hypothesis": "one", "errors": 1, "words": 2}\n'
    b'{"id": "b", "reference": "\xc3\xa9", "hypothesis": "", "errors": 1, "words": 1}\n'
)


def _listing(place: Path) -> None:
    from asrctl.data import split_roles, text_statistics
    from asrctl.data.corpora import find
    from asrctl.data.utterance import read_manifest, write_manifest

    path = place / "utterances.jsonl"
    count = write_manifest(place / "again.jsonl", read_manifest(path))
    wanted = split_roles.wanted_splits(find("manifest"), split_roles.RoleFlags())
    assigned = split_roles.assign(wanted, path, {"train": count})
    text_statistics.scan(read_manifest(path), assigned, TextRules())


_LISTING = (
    b'{"id": "a", "audio": "/x/a.wav", "text": "one", "split": "train", "speaker": "s", "sha256": "00"}\n'
    b'{"id": "b", "audio": "/x/b.tar.gz::c", "text": "two", "split": "dev", "start_s": 0.5, "end_s": 1.0}\n'
)


def _parts(place: Path) -> None:
    from asrctl.data import rejects, shards
    from asrctl.data.audio import AudioRules

    building = place / "train"
    shutil.copytree(str(place / "valid"), str(building))
    try:
        limit = rejects.RejectLimit(1.0, 10)
        job = shards.SplitJob("train", building, 2, _never, 1, AudioRules().sample_rate)
        shards.build_split(job, iter(()), limit, lambda event: None)
        limit.lines(), limit.cure()
    finally:
        shutil.rmtree(str(building))


def _never(source: Any) -> Any:
    raise AssertionError("nothing is left to convert")


_PART = {"utterances": 2, "samples": 100, "rejects": [{"id": "a", "audio": "a.wav", "reason": "empty", "detail": ""}]}


def _stat_cache(place: Path) -> None:
    with stat_cache.opened(place / "stat.sqlite") as cache:
        status = Path(__file__).stat()
        cache.get("/x/a.wav", status)
        cache.put("/x/b.wav", status, "00" * 32)


def _stat_seed() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "stat.sqlite"
        with stat_cache.opened(path) as cache:
            for number in range(40):
                cache.put(f"/x/{number}.wav", Path(__file__).stat(), "00" * 32)
        with sqlite3.connect(str(path)) as database:
            database.execute("VACUUM")
        return path.read_bytes()


def _sums(place: Path) -> None:
    from asrctl.export import delivery

    delivery.deliver(place / "export", delivery.Target(place / "out", replace=False))
    if sorted(path.name for path in place.iterdir()) != ["export", "out"]:
        raise AssertionError("something was written beside the target")


_SUMS = {"export/a.bin": b"1", "export/b.bin": b"2"}
_SUM_LINES = "".join(f"{hashlib.sha256(data).hexdigest()}  {name[7:]}\n" for name, data in _SUMS.items()).encode()


# -- all --------------------------------------------------------------------------------------------------------------


def _text(run: Callable[[Path], Any], *seeds: Tuple[str, bytes], **more: Any) -> Callable[[], Parser]:
    return lambda: Parser(run, list(seeds), **more)


def _made(run: Callable[[Path], Any], make: Callable[[], Tuple[Dict[str, bytes], Seeds]], **more: Any) -> Any:
    def parser() -> Parser:
        files, seeds = make()
        return Parser(run, seeds, files=files, **more)

    return parser


def _published(name: str) -> Parser:
    run, given, damaged = published.case(name)
    return Parser(run, [(path, given[path]) for path in damaged], files=given, finish=_summed)


_LIBRISPEECH = {f"dev-clean/84/1/84-1-000{number}.flac": b"" for number in range(3)}
_STATE = Callable[[], Parser]

MAKERS: Dict[str, Callable[[], Parser]] = {
    "manifest-csv": _text(
        _manifest,
        ("list.csv", _CSV),
        ("list.csv", _SEMICOLONS),
        ("list.csv", _TIMES),
        ("list.csv", _CSV.decode().encode("utf-16")),
    ),
    "manifest-tsv": _text(_manifest, ("list.tsv", _TSV), ("list.tsv", _QUOTED_TSV)),
    "manifest-jsonl": _text(_manifest, ("list.jsonl", _JSONL)),
    "folder": _text(_folder, *_FOLDER_SEEDS, files=_FOLDER),
    "librispeech": _text(
        _librispeech,
        ("dev-clean/84/1/84-1.trans.txt", _TRANS),
        ("dev-clean/84/1/85-1.trans.txt", _TRANS),
        files=_LIBRISPEECH,
    ),
    **{name: functools.partial(_published, name) for name in published.NAMES},
    "hub-parquet": lambda: Parser(hub_files.tables, hub_files.parquet_seeds()),
    "hub-arrow": lambda: Parser(hub_files.tables, hub_files.arrow_seeds()),
    "hub-lists": _text(hub_files.tables, *hub_files.LISTS),
    "hub-card": _text(hub_files.repository, *hub_files.CARDS, files=hub_files.REPOSITORY),
    "remote-stand": _text(hub_files.stand, ("a.parquet", hub_files.STAND)),
    "archive": lambda: Parser(
        _archive,
        [("a.tar", _tar()), ("a.tar", _tar(tarfile.PAX_FORMAT)), ("a.tar", _tar(tarfile.USTAR_FORMAT))],
        finish=_summed,
    ),
    "archive-gzip": lambda: Parser(_archive, [("a.tar.gz", gzip.compress(_tar(), mtime=0))]),
    "preset": _text(
        _preset,
        ("p.yaml", _PRESET),
        ("p.yaml", b"extends: parent\n"),
        ("parent.yaml", _PARENT),
        files={"w/presets/named.yaml": b"extends: tiny-cpu\n", "parent.yaml": _PARENT, "p.yaml": _PRESET},
    ),
    "overrides": _text(
        _overrides, ("words.txt", _OVERRIDES.split(b"\nipu")[0]), files={"short.yaml": b"optim: {seed: 1}\n"}
    ),
    "ipu-config": _text(
        _ipu_config, *[("ipu_config.json", json.dumps(values).encode()) for values in (_IPU_OLD, _IPU_NEW, _IPU_SMALL)]
    ),
    "vocabulary": _made(_vocabulary, _vocabulary_files),
    "replacements": _text(texts.replacements, (texts.FILES[0], texts.TABLE)),
    "raw-texts": _text(texts.raw, (texts.FILES[1], texts.RAW)),
    "sentencepiece": _text(texts.sentencepiece, *[(texts.FILES[2], texts.sentencepiece_file(kind)) for kind in (1, 2)]),
    "arpa": _made(language_models.read, language_models.arpa_files),
    "language-model": _made(language_models.load, language_models.stored_files),
    "weights": lambda: Parser(_weights, _weight_seeds()[:3]),
    "weights-index": lambda: Parser(
        _weights, _weight_seeds()[3:], files={"model-1.safetensors": _weight_seeds()[0][1]}
    ),
    "config": lambda: Parser(
        _config,
        [
            ("config.json", json.dumps(_TINY).encode()),
            ("config.json", json.dumps(dict(_TINY, model_type="hubert")).encode()),
        ],
        files=_vocabulary_files()[0],
    ),
    "workspace": lambda: Parser(_workspace, _workspace_seeds(), files=_workspace_files()),
    "prepared": lambda: Parser(_prepared, _prepared_seeds(), files=_workspace_files()),
    "checkpoint": _made(_checkpoint, _checkpoint_files),
    "audit-report": _text(_audit, ("report.json", json.dumps(_REPORT).encode())),
    "drop-list": _text(
        _drop,
        ("report.json", json.dumps(_REPORT).encode()),
        ("findings.jsonl", b"\n".join(json.dumps(one).encode() for one in (_FINDING, _SILENT))),
        ("list.txt", b"id\treason\na.wav\tcoughs\nb.wav\n"),
        ("list.csv", b'id,reason\na.wav,"coughs, twice"\nb.wav\n'),
    ),
    "journal": _text(_journal, ("metrics.jsonl", _METRICS)),
    "hypotheses": _text(_hypotheses, ("hypotheses.jsonl", _HYPOTHESES)),
    "listing": _text(_listing, ("utterances.jsonl", _LISTING)),
    "shard-parts": _text(
        _parts,
        ("valid/part-00000.json", json.dumps(_PART).encode()),
        ("valid/rejects.jsonl", json.dumps(_PART["rejects"][0]).encode() + b"\n"),
        files={"valid/part-00000.json": json.dumps(_PART).encode()},
    ),
    "stat-cache": lambda: Parser(_stat_cache, [("stat.sqlite", _stat_seed())]),
    "export-sums": _text(_sums, ("export/SHA256SUMS", _SUM_LINES), files=_SUMS),
}
AUDIO = (
    "audio-wav", "audio-flac", "audio-ogg", "audio-mp3", "audio-aiff", "audio-au", "audio-caf", "audio-w64",
    "audio-sphere", "audio-other",
)  # fmt: skip
NAMES = (*AUDIO, *MAKERS)


_NOT_PURE = (
    *AUDIO, "hub-parquet", "hub-arrow", "hub-lists", "sentencepiece", "weights", "weights-index", "config", "prepared",
    "checkpoint", "stat-cache",
)  # fmt: skip


def is_pure(name: str) -> bool:
    """Whether the parser is Python alone, so that atheris sees its branches."""
    return name not in _NOT_PURE


def find(name: str) -> Parser:
    """The parser called `name`."""
    return _audio_parser(name) if name in AUDIO else MAKERS[name]()
