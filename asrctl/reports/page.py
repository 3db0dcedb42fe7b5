"""An HTML page in one file, and the one way from values to its markup: what is not `Html` is escaped."""

from __future__ import annotations

import html
from typing import Any, Iterable, Sequence, Tuple

# Nothing on the page runs or comes from elsewhere, so a browser may refuse all that would.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; media-src data:; img-src data:"
MARK = '<meta name="generator" content="asrctl">'
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5b6472; --page: #ffffff; --card: #f5f6f8; --line: #d9dde3;
  --bar: #2f6fb0; --mark: #b3402a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #9aa4b2; --page: #15181d; --card: #1e2229;
  --line: #343a44; --bar: #6aa7e0; --mark: #e5856f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: inherit; }
.soft { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15.5rem, 100%), 1fr)); gap: 1rem;
  margin: 1.5rem 0; }
.wide { grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr)); }
figure { max-width: 34rem; margin: 0; padding: .75rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
svg { display: block; width: 100%; height: auto; }
svg rect { fill: var(--bar); }
svg line { stroke: var(--line); }
svg text { fill: var(--soft); font: 15px system-ui, sans-serif; }
figcaption .soft { display: block; font-size: .8rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .75rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.word { white-space: nowrap; }
code, td.name { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem; }
audio { height: 2rem; width: 15rem; max-width: 100%; display: block; }
.badge { display: inline-block; min-width: 2rem; padding: 0 .5rem; border-radius: 1rem; background: var(--mark);
  color: var(--page); font-size: .9rem; text-align: center; }
h3 { font-size: .95rem; margin: .75rem 0 0; }
td.drawing { width: 11rem; }
svg.interval { max-width: 11rem; min-width: 6rem; }
svg .range { opacity: .45; }
svg circle { fill: var(--bar); }
svg polygon { fill: var(--bar); opacity: .2; }
.legend { font-size: .8rem; }
svg .touch { fill: transparent; }
svg polyline { fill: none; stroke: var(--bar); stroke-width: 2; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(15.5rem, 100%), 1fr)); gap: 0 2rem;
  align-items: start; }
article { padding: .6rem 0; border-bottom: 1px solid var(--line); }
article audio { margin: .3rem 0; }
.aligned { line-height: 1.35; }
.aligned > span { display: inline-block; vertical-align: top; max-width: 100%; }
.wrong del, .wrong ins { display: block; text-decoration: none; }
.wrong del { border-bottom: 1px solid var(--mark); }
.wrong ins { color: var(--mark); font-weight: 600; }
@media (max-width: 44rem) {
  table.cards, table.cards tbody, table.cards tr, table.cards td { display: block; width: 100%; }
  table.cards thead { display: none; }
  table.cards tr { padding: .6rem 0; border-bottom: 1px solid var(--line); }
  table.cards td { border: 0; padding: .1rem 0; text-align: left; white-space: normal; }
  table.cards td:empty { display: none; }
  table.compact td:not(:first-child) { display: inline-block; width: auto; margin-right: .8rem; }
  table.cards td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-size: .8rem; }
  audio { width: 100%; }
}
@media print {
  :root { --ink: #000; --soft: #444; --page: #fff; --card: #fff; --line: #bbb; --bar: #555; --mark: #000; }
  body { max-width: none; padding: 0; font-size: .85rem; }
  audio, .screen { display: none; }
  tr, figure, article { break-inside: avoid; }
}
"""


class Html(str):
    """Markup, safe as it stands."""


def markup(value: Any) -> Html:
    """Markup as it is; any other value as text, with everything escaped that a browser could take for more."""
    if isinstance(value, Html):
        return value
    # Half a character has no place in a file; controls other than white space have none in HTML.
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return Html(html.escape("".join(map(_visible, text)), quote=True))


def _visible(character: str) -> str:
    code = ord(character)
    # Marks that turn the direction of writing would reach beyond the text that holds them.
    hidden = (code < 32 and character not in "\t\n\r") or 127 <= code < 160 or code in _TURNING
    return f"\\u{code:04x}" if hidden else character


_TURNING = frozenset([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF])


def element(name: str, content: Any = "", **attributes: Any) -> Html:
    """<name attribute="...">content</name>. A trailing `_` of an attribute is left out, other `_` are dashes."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{markup(content)}</{name}>")


def joined(parts: Iterable[Any], separator: str = "\n") -> Html:
    return Html(separator.join(markup(part) for part in parts))


def prose(text: str) -> Html:
    """A sentence with what stands in `backticks` as something to type."""
    parts = text.split("`")
    return joined((element("code", part) if place % 2 else part for place, part in enumerate(parts)), "")


def section(title: Any, *parts: Any, anchor: str = "") -> Html:
    """A part of a page under its heading. anchor: what links in the page lead to."""
    return element("section", joined([element("h2", title), *parts]), id_=anchor or None)


def page(title: str, parts: Sequence[Any]) -> str:
    """The whole file."""
    head: Tuple[str, ...] = (
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        MARK,
        f"<title>{markup(title)}</title>",
        f"<style>{_STYLE}</style>",
    )
    body = joined([element("h1", title), *parts])
    return "\n".join(
        ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", f"<body>\n{body}\n</body>", "</html>", ""]
    )
