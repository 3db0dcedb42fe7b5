"""Frames come back from the disk as they went there, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from asrctl.models.packed import feature_encoder
from asrctl.storage import files
from asrctl.training import feature_cache
from asrctl.training.feature_cache import FeatureCache

from ..helpers.tiny import geometry, tiny_recognizer

NUM_SAMPLES = np.array([16000, 9000, 300, 5123], dtype=np.int32)
PLENTY = 10**12


@pytest.fixture(scope="module")
def config():
    return tiny_recognizer(geometry(num_hidden_layers=1)).model.config


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch):
    monkeypatch.setattr(feature_cache, "_RESERVE_BYTES", 0)


def frames_of(config, index, precision="bf16"):
    count = feature_encoder.frame_count(config, int(NUM_SAMPLES[index]))
    generator = torch.Generator().manual_seed(index)
    return torch.randn(count, 8, generator=generator).to(feature_encoder.DTYPES[precision])


def opened(folder, config, *, limit=PLENTY, precision="bf16"):
    return FeatureCache(folder, config, NUM_SAMPLES, precision, limit)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_was_written_is_read_in_this_process_and_the_next(tmp_path, config, precision):
    cache = opened(tmp_path / "c", config, precision=precision)
    for index in (3, 0, 2):
        assert cache.read(index) is None
        cache.write(index, frames_of(config, index, precision))
    for reader in (cache, opened(tmp_path / "c", config, precision=precision)):
        assert torch.equal(reader.read(0), frames_of(config, 0, precision))
        assert torch.equal(reader.read(3), frames_of(config, 3, precision))
        assert reader.read(1) is None
        assert reader.read(2) is None  # too short for a frame
        assert reader.filled == 0.5


def test_a_hole_takes_no_disk_and_a_full_cache_what_was_told(tmp_path, config):
    long = np.full(2000, 160000, dtype=np.int32)
    told = feature_cache.size_bytes(config, long, "bf16")
    cache = FeatureCache(tmp_path / "c", config, long, "bf16", PLENTY)
    cache.write(1999, torch.zeros(feature_encoder.frame_count(config, 160000), 8, dtype=torch.bfloat16))
    assert files.folder_bytes(tmp_path / "c") >= told
    assert files.disk_bytes(tmp_path / "c") < told / 10


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "marks cut", "marks noise", "gone"])
def test_what_is_damaged_counts_as_missing_and_is_made_again(tmp_path, config, damage):
    cache = opened(tmp_path / "c", config)
    for index in (0, 1, 3):
        cache.write(index, frames_of(config, index))
    cache.close()
    data, marks = tmp_path / "c" / "frames.bin", tmp_path / "c" / "marks.bin"
    if damage == "flip":
        with open(data, "r+b") as stream:
            stream.seek(5)
            stream.write(bytes([255 - stream.read(1)[0]]))
    elif damage in ("cut", "empty"):
        os.truncate(str(data), 100 if damage == "cut" else 0)
    elif damage.startswith("marks"):
        marks.write_bytes(b"\1" if damage == "marks cut" else b"noise" * 50)
    else:
        files.remove_tree(tmp_path / "c")
    again = opened(tmp_path / "c", config)
    for index in (0, 1, 3):
        found = again.read(index)
        assert found is None or torch.equal(found, frames_of(config, index))
    assert again.read(0) is None
    again.write(0, frames_of(config, 0))
    assert torch.equal(opened(tmp_path / "c", config).read(0), frames_of(config, 0))


def test_a_full_disk_stops_the_writing_and_nothing_else(tmp_path, config, monkeypatch):
    cache = opened(tmp_path / "c", config)
    cache.write(0, frames_of(config, 0))
    monkeypatch.setattr(feature_cache, "_RESERVE_BYTES", 10**18)
    cache.write(1, frames_of(config, 1))
    assert "space" in cache.full
    assert cache.read(1) is None
    assert torch.equal(cache.read(0), frames_of(config, 0))


def test_a_limit_keeps_the_first_utterances_only(tmp_path, config):
    first = feature_cache.size_bytes(config, NUM_SAMPLES[:2], "bf16")
    cache = opened(tmp_path / "c", config, limit=first)
    for index in (0, 1, 3):
        cache.write(index, frames_of(config, index))
    assert [cache.read(index) is not None for index in (0, 1, 3)] == [True, True, False]
    assert files.folder_bytes(tmp_path / "c") <= first + 64


def test_two_at_once_read_what_the_other_wrote_and_do_no_harm(tmp_path, config):
    left, right = opened(tmp_path / "c", config), opened(tmp_path / "c", config)
    left.write(0, frames_of(config, 0))
    right.write(0, frames_of(config, 0))
    right.write(1, frames_of(config, 1))
    left.write(3, frames_of(config, 3))
    for cache in (left, opened(tmp_path / "c", config)):
        assert torch.equal(cache.read(0), frames_of(config, 0))
    assert opened(tmp_path / "c", config).filled == 0.75


def test_room_is_made_by_the_longest_unused_and_never_by_one_in_use(tmp_path, config):
    names = ("oldest", "in use", "newer")
    caches = [opened(tmp_path / name, config) for name in names]
    for age, cache in zip((300, 200, 100), caches):
        cache.write(0, frames_of(config, 0))
        os.utime(str(cache.folder), (10**9 - age, 10**9 - age))
    size = files.disk_bytes(tmp_path / "newer")
    caches[0].close()
    caches[2].close()
    room = feature_cache.make_room(tmp_path, "mine", 3 * size, size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in use", "newer"]
    assert room == size
    assert feature_cache.make_room(tmp_path, "mine", size, size) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in use"]


class Shrinking(type(Path())):
    """A folder whose entries go just after somebody has seen them: another training makes room at the same moment."""

    def iterdir(self):
        for path in list(super().iterdir()):
            yield path
            files.remove_tree(path)


def test_two_may_make_room_at_once(tmp_path, config):
    for name in ("one", "two"):
        cache = opened(tmp_path / name, config)
        cache.write(0, frames_of(config, 0))
        cache.close()
    assert feature_cache.make_room(Shrinking(tmp_path), "mine", 1000, 1000) == 1000
    assert list(tmp_path.iterdir()) == []


def test_300000_utterances_open_in_no_time_and_little_memory(tmp_path, config):
    many = np.random.default_rng(0).integers(30_000, 250_000, 300_000).astype(np.int32)
    cache = FeatureCache(tmp_path / "c", config, many, "bf16", PLENTY)
    arrays = [value for value in vars(cache).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) < 10_000_000
    assert not any(isinstance(value, (dict, list)) for value in vars(cache).values())
