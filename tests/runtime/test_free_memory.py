"""What a process can still have, where control groups say less than the machine."""

import sys

import pytest

from asrctl.runtime.free_memory import free_bytes

GB = 1 << 30
MEMINFO = f"MemTotal: {16 * GB // 1024} kB\nMemAvailable:   {8 * GB // 1024} kB\n"


@pytest.fixture
def system(tmp_path):
    """A function that writes /proc and /sys/fs/cgroup as told, and returns what is free by them."""

    def made(groups, files, meminfo=MEMINFO):
        texts = {"proc/meminfo": meminfo, "proc/self/cgroup": groups}
        texts.update({f"groups/{name}": str(text) for name, text in files.items()})
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return free_bytes(tmp_path / "proc", tmp_path / "groups")

    return made


def test_without_groups_it_is_what_the_kernel_calls_available(system):
    assert system("", {}) == 8 * GB
    assert system("0::/\n1:cpu:/here", {}) == 8 * GB


def test_where_the_system_does_not_say_nothing_is_free(tmp_path):
    assert free_bytes(tmp_path, tmp_path) == 0


def test_a_limit_of_the_own_group(system):
    assert system("0::/job", {"job/memory.max": 3 * GB, "job/memory.current": GB}) == 2 * GB


def test_files_that_the_kernel_can_drop_count_as_free(system):
    stat = f"anon 5\ninactive_file {GB // 2}\nactive_file 7"
    files = {"job/memory.max": 3 * GB, "job/memory.current": GB, "job/memory.stat": stat}
    assert system("0::/job", files) == 2 * GB + GB // 2


def test_a_limit_of_a_group_further_up(system):
    own = {"job/step/memory.max": "max", "job/step/memory.current": 0}
    assert system("0::/job/step", dict(own, **{"job/memory.max": 3 * GB, "job/memory.current": 2 * GB})) == GB


def test_a_container_that_sees_only_its_own_group_as_the_top(system):
    assert system("0::/docker/abc", {"memory.max": 4 * GB, "memory.current": GB}) == 3 * GB


def test_version_1(system):
    files = {"memory/job/memory.limit_in_bytes": 3 * GB, "memory/job/memory.usage_in_bytes": 2 * GB}
    stat = {"memory/job/memory.stat": f"inactive_file 5\ntotal_inactive_file {GB // 4}"}
    assert system("3:cpu,cpuacct:/job\n2:memory:/job", dict(files, **stat)) == GB + GB // 4


def test_a_group_that_is_over_its_limit_leaves_nothing(system):
    assert system("0::/job", {"job/memory.max": GB, "job/memory.current": 2 * GB}) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_machine_has_some():
    assert free_bytes() > 0
