"""Secrets of the environment and of URLs, taken out of what is shown or kept."""

from __future__ import annotations

import os
import re
from typing import Any, Iterator

HIDDEN = "***"
# Names of variables that hold secrets: HF_TOKEN, AWS_SECRET_ACCESS_KEY, PGPASSWORD, WANDB_API_KEY and their like.
_SECRET_NAME = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|_KEY|_KEY_ID|_PAT|_PASS)(_\d+)?$", re.I
)
# Shorter values are words such as "true", which stand in many texts.
_SHORTEST = 6
_IN_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^/\s@'\"]{1,500}@")
_IN_QUERY = re.compile(r"(?i)([?&](?:token|key|secret|password|signature|x-amz-[a-z-]+)=)[^&\s'\"]+")
# Tokens that are known by their form, wherever they come from.
_BY_FORM = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|gh[oprsu]_[A-Za-z0-9]{20,}|(?:AKIA|ASIA)[A-Z0-9]{16}|sk-[A-Za-z0-9_-]{20,})"
)


def redact(text: str) -> str:
    """`text` without the values of secret variables, without user names and passwords in URLs, and without tokens."""
    for value in _values():
        text = text.replace(value, HIDDEN)
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_URL.sub(rf"\1{HIDDEN}@", text))
    return _BY_FORM.sub(HIDDEN, text)


def redact_values(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_values(item) for key, item in value.items()}
    return [redact_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def _values() -> Iterator[str]:
    """Longest first, so that no part of a secret stays beside a shorter one."""
    found = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    found |= {password for value in os.environ.values() for password in _passwords(value)}
    return iter(sorted(found, key=len, reverse=True))


def _passwords(value: str) -> Iterator[str]:
    """The password in a URL, such as that of a proxy."""
    scheme, separator, rest = value.partition("://")
    user, at, _ = rest.partition("@")
    password = user.partition(":")[2]
    if separator and at and len(password) >= _SHORTEST:
        yield password
