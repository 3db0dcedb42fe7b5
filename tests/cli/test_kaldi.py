"""`asrctl prepare kaldi`, from data folders to prepared data."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import numpy as np
import soundfile

from .test_prepare import noise, opened, outcomes


def recipe(folder: Path) -> Dict[str, np.ndarray]:
    """data/train with segments of two-sided calls and data/dev with whole files; {utterance: samples}."""
    heard = {}
    train, dev = folder / "data" / "train", folder / "data" / "dev"
    segments, scp = [], []
    for number in range(4):
        sides = np.stack([noise(6.0, 2 * number), noise(6.0, 2 * number + 1)], axis=1)
        path = folder / f"call{number}.flac"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(path), sides, 16000)
        scp.append(f"call{number} {path.name}")
        for channel in (0, 1):
            for part in range(2):
                name = f"call{number}-{channel}-{part}"
                segments.append(f"{name} call{number} {0.5 + part} {1.5 + part} {channel}")
                first = 8000 + 16000 * part
                heard[name] = sides[first : first + 16000, channel]
    lists = {
        train / "wav.scp": scp,
        train / "segments": segments,
        train / "text": [f"{line.split()[0]} word a" for line in segments],
        train / "utt2spk": [f"{line.split()[0]} {line[:7]}" for line in segments],
    }
    for number in range(2):
        heard[f"dev{number}"] = noise(1.0, 100 + number)
        soundfile.write(str(folder / f"dev{number}.wav"), heard[f"dev{number}"], 16000)
    lists[dev / "wav.scp"] = [f"dev{number} cat dev{number}.wav |" for number in range(2)]
    lists[dev / "text"] = [f"dev{number} word a" for number in range(2)]
    for path, lines in lists.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return heard


def test_data_folders_are_prepared(asrctl, tmp_path: Path, workspace: Path) -> None:
    heard = recipe(tmp_path / "s5")
    source = tmp_path / "s5" / "data"
    refused = asrctl("prepare", source, "--json")  # of which kind it is, the path tells
    assert refused.exit_code == 5 and "names 2 commands" in refused.error["message"]

    planned = asrctl("prepare", "kaldi", source, "--allow-commands", "--dry-run", "--json")
    assert planned.result["splits"]["train"]["utterances"] == 16 and planned.result["splits"]["eval"]["utterances"] == 2
    assert not workspace.exists()

    done = asrctl("prepare", "kaldi", source, "--allow-commands", "--json")
    assert {role: split["utterances"] for role, split in done.result["splits"].items()} == {"train": 16, "eval": 2}
    data = opened(workspace)
    found = {item.id: item for role in data.splits for item in data.split(role)}
    assert found.keys() == heard.keys()
    assert all(np.array_equal(found[name].pcm, heard[name]) for name in heard)
    assert found["call0-1-0"].speaker == "call0-1"
    again = asrctl("prepare", "kaldi", source, "--allow-commands", "--json")
    assert not again.result["new"] and again.result["id"] == done.result["id"]
    kept = list((workspace / "cache" / "kaldi").iterdir())
    assert len(kept) == 2 and all(path.suffix == ".audio" for path in kept)


def test_segments_behind_the_end_of_their_file_are_left_out(asrctl, tmp_path: Path, workspace: Path) -> None:
    recipe(tmp_path / "s5")
    train = tmp_path / "s5" / "data" / "train"
    with open(train / "segments", "a", encoding="utf-8") as stream:
        stream.write("call9-x call0 7 8 0\ncall9-y call0 5 7 0\ncall9-z call0 5 6.4 0\n")
    with open(train / "text", "a", encoding="utf-8") as stream:
        stream.write("".join(f"call9-{name} word a\n" for name in "xyz"))
    failed = asrctl("prepare", "kaldi", train, "--json")
    assert failed.exit_code == 5 and failed.error["problems"][0].startswith("1 x outside")
    assert "correct segments" in failed.error["fix"]
    asrctl("prepare", "kaldi", train, "--max-rejects", "0.2", "--json").succeeded()
    found = outcomes(opened(workspace))
    assert [found[f"call9-{name}"] for name in "xyz"] == ["outside", "outside", "prepared"]
