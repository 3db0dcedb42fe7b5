"""A headless Chromium, where the machine has one: whether pages fit their widths, and what they look like."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from .stops import HANGS_S

_NAMES = ("chromium", "google-chrome", "chromium-browser")
# Frames of each width; what is wider than its frame could only be read by scrolling sideways.
_LOOK = """
onload = () => { document.body.textContent = "found" + JSON.stringify([...document.querySelectorAll("iframe")].map(
  frame => { const page = frame.contentDocument.documentElement; return [frame.clientWidth, page.scrollWidth,
  page.scrollHeight, page.textContent.length]; })) + "end"; };
"""


def _run(folder: Path, *words: str) -> str:
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome on the PATH")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [browser, *options, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=HANGS_S
    )
    return done.stdout.decode("utf-8")


def sizes(folder: Path, page: Path, widths: Sequence[int]) -> List[Dict[str, int]]:
    """For each width of the window: that width, and the width, height and number of characters of the page in it."""
    text = html.escape(page.read_text(encoding="utf-8"), quote=True)
    frames = "".join(f'<iframe style="width:{width}px;border:0" srcdoc="{text}"></iframe>' for width in widths)
    outer = folder / "frames.html"
    outer.write_text(f'<meta charset="utf-8"><body>{frames}<script>{_LOOK}</script>', encoding="utf-8")
    found = re.search(r"found(\[.*?\])end", _run(folder, "--dump-dom", outer.as_uri()))
    assert found is not None, "the browser did not come to look"
    return [dict(zip(("window", "width", "height", "characters"), row)) for row in json.loads(found.group(1))]


def shot(folder: Path, page: Path, *, width: int, dark: bool) -> bytes:
    """A picture of the page."""
    target = folder / "shot.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(folder, scheme, f"--window-size={width},900", f"--screenshot={target}", page.as_uri())
    return target.read_bytes()
