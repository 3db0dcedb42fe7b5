"""Secrets of the environment, of URLs and of known forms, taken out of what is shown or kept."""

from __future__ import annotations

import functools
import os
import re
from typing import Any, Iterator, List, Pattern, Set

from asrctl.storage.secret_patterns import AFTER, TOKENS

HIDDEN = "***"
# Names of variables that hold secrets: HF_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD, WANDB_API_KEY and their like.
_SECRET_NAME = re.compile(
    r"(TOKEN|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|_KEY|_KEY_ID|_PAT|_PASS|[A-Z]_PWD|_DSN|_COOKIE)"
    r"(_\d+)?$",
    re.I,
)
# Shorter values are words such as "true", which stand in many texts.
_SHORTEST = 6
# What follows the colon in host:port.
_PORT = r"\d{1,5}(?:[/?#'\"\s,;)\]>]|$)"
# A password may hold anything but a space: the last @ before a host ends it, else the last of all.
_IN_URL = (
    # A path has its double slashes made single.
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://|(?:https?|ftp|ssh|rediss?|postgres\w*|git\+\w+):/)(?:"
    rf"(?!\[)[^\s/@:'\"]{{0,500}}:(?!{_PORT})(?:\S{{0,2000}}@(?=[\w-]+\.[\w.-]+|localhost\b|\[)|\S{{0,2000}}@)"
    r"|[^\s/@'\"]{1,500}@)"
)
_PASSWORD = re.compile(rf"://(?!\[)[^/@:]*:(?!{_PORT})(.+)@")


def redact(text: str) -> str:
    """`text` without the values of secret variables, without user names and passwords in URLs, and without tokens."""
    for value in _values():
        text = text.replace(value, HIDDEN)
    if "@" in text:
        text = _compiled(_IN_URL).sub(rf"\1{HIDDEN}@", text)
    lowered = text.lower()
    for words, form in AFTER:
        if any(word in lowered for word in words):
            text = _compiled(form).sub(rf"\1{HIDDEN}", text)
    for words, form in TOKENS:
        if any(word in text for word in words):
            text = _compiled(rf"(?<![A-Za-z0-9])(?:{form})").sub(HIDDEN, text)
    return text


@functools.lru_cache(maxsize=None)
def _compiled(form: str) -> Pattern[str]:
    """Made when it is needed first: most runs of the program need none, and `asrctl --help` is quick."""
    return re.compile(form)


def redact_values(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_values(item) for key, item in value.items()}
    return [redact_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def _values() -> List[str]:
    """Longest first, so that no part of a secret stays beside a shorter one."""
    found: Set[str] = set()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name):
            found.add(value)
        found.update(_passwords(name, value))
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


def _passwords(name: str, value: str) -> Iterator[str]:
    """The passwords in the URLs of a variable, such as a proxy's: as it has them, and decoded."""
    from urllib.parse import unquote  # here, because `asrctl --help` has no need of it

    for word in value.split():
        if "@" in word:
            is_bare = name.lower().endswith("proxy") and "://" not in word
            for password in _PASSWORD.findall(f"://{word}" if is_bare else word):
                yield password
                yield unquote(password)
