"""An evaluation's gates in the XML of JUnit, which CI systems read: each gate is a test."""

from __future__ import annotations

import re
from typing import Sequence
from xml.etree import ElementTree

from asrctl.evaluation.gates import Verdict

MARK = '<testsuites><testsuite name="asrctl eval"'
_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
# What XML 1.0 can not hold, even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(verdicts: Sequence[Verdict], *, what: str, seconds: float, timestamp: str) -> str:
    """The file. what: was evaluated; without any gate it is a test of its own, which passes. timestamp: ISO 8601.

    The order of elements and attributes is what the strictest schema in use asks for (Apache Ant's).
    """
    tests = verdicts or (Verdict("eval", passed=True, message=what),)
    failures = sum(not verdict.passed for verdict in tests)
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name="asrctl eval",
        id="0",
        package="asrctl",
        timestamp=timestamp,
        hostname="localhost",
        tests=str(len(tests)),
        failures=str(failures),
        errors="0",
        time=f"{seconds:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="evaluation", value=_clean(what))
    for verdict in tests:
        case = ElementTree.SubElement(suite, "testcase", name=_clean(verdict.name), classname="asrctl.eval", time="0")
        if not verdict.passed:
            failure = ElementTree.SubElement(case, "failure", message=_clean(verdict.message), type="gate")
            failure.text = "\n".join(_lines(verdict)) or _clean(verdict.message)
    told = [_clean(f"{verdict.name}: {verdict.message}") for verdict in tests if verdict.passed]
    ElementTree.SubElement(suite, "system-out").text = "\n".join(told)
    ElementTree.SubElement(suite, "system-err").text = ""
    return _DECLARATION + ElementTree.tostring(root, encoding="unicode") + "\n"


def _lines(verdict: Verdict) -> Sequence[str]:
    return [
        _clean(f"{group.name}: {100 * group.wer:.2f} %, {group.errors} errors in {group.words} words")
        for group in verdict.above
    ]


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
