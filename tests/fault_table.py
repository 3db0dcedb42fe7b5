"""What the fault tests came to: one row per fault, printed when the tests are done."""

from __future__ import annotations

import traceback
from collections import OrderedDict
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import pytest

_PROPERTY = "fault"


class Faults:
    """Counts tries. One that is lost does not keep the others from being tried; the test fails at its end."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self.lost: List[str] = []

    @contextmanager
    def survives(self, fault: str) -> Iterator[List[str]]:
        """A try of `fault`, survived if the block ends well; more of a block are appended to the list given."""
        more: List[str] = []
        survived = False
        try:
            yield more
            survived = True
        except Exception:
            self.lost.append(f"{fault}:\n{traceback.format_exc()}")
        for name in [fault, *more]:
            self._node.user_properties.append((_PROPERTY, (name, survived)))


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Iterator[Faults]:
    counted = Faults(request.node)
    yield counted
    if counted.lost:
        pytest.fail(f"{len(counted.lost)} lost\n" + "\n".join(counted.lost[:3]), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """A test with the marker `fault` that counts nothing itself is one try."""
    report = yield
    marker = item.get_closest_marker(_PROPERTY)
    counts_itself = "faults" in getattr(item, "fixturenames", ())
    if marker is not None and report.when == "call" and not counts_itself and not report.skipped:
        item.user_properties.append((_PROPERTY, (marker.args[0], report.passed)))
        report.user_properties = list(item.user_properties)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = _rows(terminalreporter)
    if not rows:
        return
    width = max(len(name) for name in rows)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault'.ljust(width)}  tries  survived  lost")
    for name, (survived, lost) in rows.items():
        terminalreporter.write_line(f"{name.ljust(width)}  {survived + lost:5}  {survived:8}  {lost:4}")
    survived, lost = (sum(row[place] for row in rows.values()) for place in (0, 1))
    terminalreporter.write_line(f"{'all'.ljust(width)}  {survived + lost:5}  {survived:8}  {lost:4}")


def _rows(terminalreporter: Any) -> Dict[str, List[int]]:
    """{fault: [survived, lost]} of every test; a report of a later phase repeats what the earlier ones told."""
    told: Dict[str, List[Any]] = OrderedDict()
    for reports in terminalreporter.stats.values():
        for report in reports:
            properties = getattr(report, "user_properties", None) or []
            found = [value for name, value in properties if name == _PROPERTY]
            if len(found) > len(told.get(report.nodeid, [])):
                told[report.nodeid] = found
    rows: Dict[str, List[int]] = OrderedDict()
    for found in told.values():
        for name, survived in found:
            rows.setdefault(name, [0, 0])[0 if survived else 1] += 1
    return rows
