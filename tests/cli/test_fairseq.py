"""`asrctl prepare fairseq`, from lists to prepared data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from .test_prepare import noise, opened


def test_lists_are_prepared(asrctl, tmp_path: Path, workspace: Path) -> None:
    heard = {}
    for split, count in (("train", 6), ("valid", 2)):
        rows = [str(tmp_path / "speech")]
        for number in range(count):
            name = f"{split}/{number}.flac"
            (tmp_path / "speech" / split).mkdir(parents=True, exist_ok=True)
            heard[name] = noise(1.0, 10 * count + number)
            soundfile.write(str(tmp_path / "speech" / name), heard[name], 16000)
            rows.append(f"{name}\t{len(heard[name])}")
        (tmp_path / "l").mkdir(exist_ok=True)
        (tmp_path / "l" / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (tmp_path / "l" / f"{split}.ltr").write_text("A B | C |\n" * count, encoding="utf-8")
    planned = asrctl("prepare", tmp_path / "l", "--dry-run", "--json")
    assert planned.result["splits"]["train"]["utterances"] == 6 and not workspace.exists()
    done = asrctl("prepare", tmp_path / "l", "--json")
    assert {role: split["utterances"] for role, split in done.result["splits"].items()} == {"train": 6, "eval": 2}
    data = opened(workspace)
    found = {item.id: item for role in data.splits for item in data.split(role)}
    assert all(found[name].text == "ab c" and np.array_equal(found[name].pcm, heard[name]) for name in heard)
