"""What a process keeps for itself. Each test has a process of its own: the C library's settings are for good."""

import resource
import subprocess
import sys

import pytest

from asrctl.runtime import free_memory, memory

ON_GLIBC = memory._of_glibc("mallopt") is not None
pytestmark = pytest.mark.skipif(not ON_GLIBC, reason="only glibc is told to keep memory")

# Takes, fills and frees 100 MB twice; says how many pages the second time faulted in.
_FAULTS = """
import resource, torch
from asrctl.runtime import memory

def taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(25_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

memory.keep_for_reuse() if {keeps} else None
taken()
print(taken())
"""
_ADDRESSES = r"""
import re
from pathlib import Path
from asrctl.runtime import memory

def size():
    return int(re.search(r"VmSize:\s*([0-9]+) kB", Path("/proc/self/status").read_text()).group(1))

before = size()
memory.keep_for_reuse()
print(size() - before)
"""


def said(program, limit=None):
    def hold():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, preexec_fn=hold)
    return int(done.stdout)


@pytest.fixture
def addresses_are_plenty():
    if free_memory.addresses_are_scarce():
        pytest.skip("this machine counts or limits addresses")


def test_what_is_kept_is_not_faulted_in_again(addresses_are_plenty):
    assert said(_FAULTS.format(keeps=False)) > 20_000
    assert said(_FAULTS.format(keeps=True)) < 200


def test_nothing_is_kept_where_addresses_are_limited():
    assert said(_FAULTS.format(keeps=True), limit=8 << 30) > 20_000


def test_addresses_are_set_aside_only_where_they_cost_nothing(addresses_are_plenty):
    assert said(_ADDRESSES) > 100_000
    assert said(_ADDRESSES, limit=4 << 30) < 100_000


def test_holes_are_given_back_and_the_heap_still_works_as_before(addresses_are_plenty):
    again = "\nmemory.give_back()\nmemory.keep_for_reuse()\ntaken()\nassert taken() < 200\n"
    assert said(_FAULTS.format(keeps=True) + again) < 200
