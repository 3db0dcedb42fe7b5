"""Corpora in buckets and behind URLs: the same data as here, fetched once, and secrets stay secret."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any, Iterator

import pytest

from ..helpers import data_sets
from ..helpers.elsewhere import Buckets, buckets, web
from ..helpers.program import Result, run_here
from ..helpers.speech import write_digits

SECRET = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SIGNED = f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDTESTING&X-Amz-Signature={SECRET}"


@pytest.fixture(scope="module")
def store() -> Iterator[Buckets]:
    with buckets() as served:
        yield served


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, store: Buckets) -> Path:
    """The folder of digits.csv, which lies at s3://speech/digits/ too."""
    folder = write_digits(tmp_path_factory.mktemp("here") / "digits", train=10, held_out=2, test=2).parent
    store.put("speech", folder, "digits/")
    return folder


@pytest.fixture
def s3(store: Buckets, corpus: Path, monkeypatch: pytest.MonkeyPatch, in_folder: Path) -> Buckets:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.proxy.requests.clear()
    return store


def prepared(*words: Any, workspace: str = "w") -> Any:
    done = run_here("prepare", *words, "--name", "speech", "--workspace", workspace, "--json").succeeded()
    return done.result


def refused(*words: Any, code: int = 5) -> Result:
    done = run_here("prepare", *words, "--workspace", "w", "--json")
    assert done.exit_code == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


def gets(store: Buckets) -> int:
    return sum(line.startswith("GET") and "list-type" not in line for line in store.proxy.requests)


def test_a_table_in_a_bucket_is_the_same_data_as_here(s3: Buckets, corpus: Path) -> None:
    here = prepared("manifest", corpus / "digits.csv", workspace="here")
    planned = run_here("prepare", "manifest", "s3://speech/digits/digits.csv", "--dry-run", "--json").result
    assert list(planned["downloads"]) == ["s3://speech/digits/digits.csv"] and planned["splits"] == {}
    there = prepared("manifest", "s3://speech/digits/digits.csv")
    assert there["id"] == here["id"]
    s3.proxy.requests.clear()
    again = prepared("manifest", "s3://speech/digits/digits.csv")
    assert not again["new"] and not gets(s3)
    assert "cache/remote" in run_here("clean", "cache", "--workspace", "w").stdout
    run_here("clean", "cache", "--yes", "--workspace", "w").succeeded()
    assert not Path("w/cache/remote").exists()


def test_a_folder_in_a_bucket_is_followed(s3: Buckets, corpus: Path, in_folder: Path) -> None:
    for path in corpus.glob("*.wav"):
        (in_folder / "mine" / path.name).parent.mkdir(exist_ok=True)
        shutil.copy(str(path), str(in_folder / "mine" / path.name))
        (in_folder / "mine" / path.with_suffix(".txt").name).write_text(path.stem.split("-")[0], encoding="utf-8")
    s3.put("mine", in_folder / "mine")
    here = prepared("folder", "mine", workspace="here")
    planned = run_here("prepare", "folder", "s3://mine/", "--dry-run", "--json", "--workspace", "w").result
    assert list(planned["downloads"]) == ["28 files of s3://mine"]
    assert not Path("w").exists()
    assert prepared("folder", "s3://mine/")["id"] == here["id"]
    words = ("prepare", "folder", "s3://mine/", "--dry-run", "--json", "--workspace", "w")
    planned = run_here(*words).result
    assert planned["downloads"] == {} and planned["splits"]["train"]["utterances"] == 13
    s3.client.delete_object(Bucket="mine", Key="two-2.wav")
    s3.client.delete_object(Bucket="mine", Key="two-2.txt")
    s3.client.put_object(Bucket="mine", Key="one-1.txt", Body=b"won")
    for name in ("two-2.wav", "two-2.txt"):
        (in_folder / "mine" / name).unlink()
    (in_folder / "mine" / "one-1.txt").write_text("won", encoding="utf-8")
    s3.proxy.requests.clear()
    changed = prepared("folder", "s3://mine/")
    assert changed["id"] == prepared("folder", "mine", workspace="here")["id"] != here["id"]
    assert gets(s3) == 1


def test_shards_by_a_pattern(s3: Buckets, corpus: Path, in_folder: Path) -> None:
    recordings = sorted(corpus.glob("*.wav"))
    (in_folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(str(in_folder / "shards" / f"train-{shard:03d}.tar"), "w") as archive:
            for path in recordings[shard::2]:
                text = in_folder / f"{path.stem}.txt"
                text.write_text(path.stem.split("-")[0], encoding="utf-8")
                archive.add(str(path), path.name)
                archive.add(str(text), text.name)
    s3.put("shards", in_folder / "shards", "a/")
    here = prepared("webdataset", "shards/train-{000..001}.tar", workspace="here")
    assert prepared("webdataset", "s3://shards/a/train-{000..001}.tar")["id"] == here["id"]
    done = refused("webdataset", "s3://shards/a/train-{000..002}.tar")
    assert done.error["message"].startswith("there is no s3://shards/a/train-002.tar")


def test_rows_that_are_urls(s3: Buckets, corpus: Path, in_folder: Path) -> None:
    """The same recordings from two buckets and a web server, with a login in the address: one and the same data."""
    names = [path.name for path in sorted(corpus.glob("*.wav"))]
    s3.put("copies", corpus, "digits/")
    with web() as served:
        served.put(corpus, "digits/")
        with_login = served.url.replace("//", "//me:pw@")
        places = (("s3://speech", ""), ("s3a://copies", ""), (served.url, SIGNED), (with_login, ""))
        for number, (before, after) in enumerate(places):
            rows = [
                f"{before}/digits/{name}{after},{name.split('-')[0]},{'test' if at in (1, 3, 13) else 'train'}"
                for at, name in enumerate(names)
            ]
            Path(f"{number}.csv").write_text("path,text,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
        found = [
            run_here("prepare", "manifest", f"{number}.csv", "--name", "speech", "--workspace", f"w{number}", "--json")
            for number in range(4)
        ]
        planned = run_here("prepare", "manifest", "0.csv", "--dry-run", "--workspace", "new", "--json").result
    assert len({done.succeeded().result["id"] for done in found}) == 1
    (told,) = planned["downloads"].items()
    assert told == ("14 files named by the list", sum(path.stat().st_size for path in corpus.glob("*.wav")))
    assert planned["splits"]["train"]["utterances"] == 10
    kept = b"".join(path.read_bytes() for path in Path("w2").rglob("*") if path.is_file())
    assert SECRET.encode() not in kept and b"me:pw" not in kept
    assert SECRET not in found[2].stderr + found[2].stdout
    assert not [path for path in Path("w2").rglob("*") if "Amz" in path.name]


def test_a_signed_table(s3: Buckets, corpus: Path) -> None:
    """Named on the command line, which status tells again: without the signature."""
    with web() as served:
        served.put(corpus, "digits/")
        done = run_here("prepare", "manifest", f"{served.url}/digits/digits.csv{SIGNED}", "--workspace", "w")
        assert done.succeeded() and Path("w/refs/prepared/digits.json").is_file()
        told = run_here("status", "--json", "--workspace", "w").succeeded()
    everything = b"".join(path.read_bytes() for path in Path("w").rglob("*") if path.is_file())
    assert SECRET.encode() not in everything and SECRET not in told.stdout + done.stderr + done.stdout


def test_a_kaldi_folder_and_a_nemo_manifest_whose_recordings_lie_elsewhere(s3: Buckets, corpus: Path) -> None:
    names = sorted(path.name for path in corpus.glob("*.wav"))
    Path("train").mkdir()
    Path("train/wav.scp").write_text("".join(f"{n[:-4]} s3://speech/digits/{n}\n" for n in names), encoding="utf-8")
    Path("train/text").write_text("".join(f"{n[:-4]} {n.split('-')[0]}\n" for n in names), encoding="utf-8")
    assert prepared("kaldi", "train", workspace="k")["splits"]["train"]["rejected"] == 0
    rows = [{"audio_filepath": name, "text": name.split("-")[0], "duration": 0.1} for name in names]
    body = "".join(json.dumps(row) + "\n" for row in rows).encode()
    s3.client.put_object(Bucket="speech", Key="digits/train.json", Body=body)
    assert prepared("nemo", "s3://speech/digits/train.json", workspace="n")["splits"]["train"]["rejected"] == 0
    with tarfile.open("audio_0.tar", "w") as archive:
        for name in names:
            archive.add(str(corpus / name), name)
    s3.client.put_object(Bucket="speech", Key="tarred/audio_0.tar", Body=Path("audio_0.tar").read_bytes())
    rows = [dict(row, shard_id=0) for row in rows]
    Path("train.json").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tarred = prepared("nemo", "train.json", "--tars", "s3://speech/tarred/audio_{0..0}.tar", workspace="t")
    assert tarred["splits"]["train"]["rejected"] == 0


def test_a_data_set_of_the_hub_in_a_bucket(s3: Buckets, in_folder: Path) -> None:
    """Only the files of the wanted configuration are fetched."""
    for config in ("de", "fr"):
        for split, count in (("train", 6), ("validation", 2)):
            data_sets.write(in_folder / "set" / config / f"{split}-00000-of-00001.parquet", data_sets.rows(count))
    patterns = {one: {split: f"{one}/{split}-*" for split in ("train", "validation")} for one in ("de", "fr")}
    data_sets.card(in_folder / "set", patterns)
    s3.put("sets", in_folder / "set", "one/")
    here = prepared("hub", "set", "--config", "de", workspace="here")
    words = ("hub", "s3://sets/one", "--config", "de")
    planned = run_here("prepare", *words, "--dry-run", "--json", "--workspace", "w").result
    assert sorted(planned["downloads"]) == [f"de/{split}-00000-of-00001.parquet" for split in ("train", "validation")]
    assert not Path("w").exists()
    assert prepared(*words)["id"] == here["id"]
    assert not [path for path in Path("w/cache/remote").rglob("*.parquet") if "/fr/" in str(path)]


def test_a_connection_that_breaks_once_is_made_again(s3: Buckets, in_folder: Path) -> None:
    data_sets.write(in_folder / "big" / "train.parquet", data_sets.rows(40))
    s3.put("big", in_folder / "big")
    s3.proxy.breaks = 100_000
    done = run_here("prepare", "hub", "s3://big", "--workspace", "w", "--json")
    assert s3.proxy.breaks is None and done.succeeded().result["splits"]["train"]["utterances"] == 36
    assert "a connection broke" in done.stderr


def test_what_can_not_be_read(s3: Buckets, corpus: Path) -> None:
    assert refused("manifest", "s3://nobodys/a.csv").error["message"].startswith("there is no s3://nobodys/a.csv (")
    assert refused("manifest", "s3://speech/a.csv").error["fix"] == "correct the bucket and the path"
    assert refused("folder", "s3://speech/nothing/").error["message"] == "there is no s3://speech/nothing"
    assert "names no bucket" in refused("folder", "s3://", code=2).error["message"]
    error = refused("manifest", "s3://speech/digits").error
    assert error["message"] == "s3://speech/digits is a folder, not a manifest"
    assert error["fix"].startswith("use `asrctl prepare folder s3://speech/digits")
    message = refused("folder", "ftp://speech/x", code=2).error["message"]
    assert message == "ftp:// is not read"
    assert "--root" in refused("folder", "s3://speech/digits", "--root", ".", code=2).error["message"]
    assert "--no-download" in refused("folder", "s3://speech/elsewhere", "--no-download", code=4).error["fix"]
    fix = refused("hub", "hf://datasets/somebody/speech", code=2).error["fix"]
    assert fix == "type asrctl prepare hub somebody/speech"
    fix = refused("s3://speech/digits", code=2).error["fix"]
    assert fix == "say so, such as asrctl prepare folder s3://speech/digits"
    with web() as served:
        served.put(corpus, "digits/")
        served.denied += [name for name in served.files if name.endswith(".wav")]
        done = refused("manifest", f"{served.url}/digits/digits.csv")
        assert "may not be read (the server answers 403" in done.error["fix"]
        assert "no lists of their files" in refused("folder", f"{served.url}/digits/").error["message"]


def test_a_public_bucket_needs_no_login(s3: Buckets, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert prepared("manifest", "s3://speech/digits/digits.csv")["splits"]["train"]["rejected"] == 0


def test_an_extra_that_is_missing(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("fsspec.registry")
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs")):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
        monkeypatch.setitem(sys.modules, package, None)
        done = refused("folder", f"{scheme}://speech/x", code=6)
        assert done.error["fix"] == f"python -m pip install 'asrctl[{scheme}]'"
