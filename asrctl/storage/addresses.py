"""Addresses of files on other machines: what they are called here, and how they are shown. No network is used."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

# {scheme as it may be typed: the one meant}.
SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "https": "https", "http": "http"}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_WEB = ("http", "https")
# Parameters that say who may read, and for how long; the others say what is read.
_SIGNED = re.compile(
    r"(x-amz-.*|x-goog-.*|signature|expires|awsaccesskeyid|googleaccessid|key-pair-id|policy|token|access_token|sig|sv|se"
    r"|st|sp|sr|spr|sip|ske|skoid|sks|skt|sktid|skv)",
    re.IGNORECASE,
)
_MOST_NAME_BYTES = 200
# A host ends without a port, or with a number.
_PORT = re.compile(r"(^[^:]*|\]|:\d*)$")
# What no part of a path may be, or hold, on the disk.
_UNSAFE = re.compile(r"[\0-\x1f\x7f/%]")


class Address(NamedTuple):
    """A file or folder elsewhere. host: its bucket, where there are such. path: without a slash before it. query: as it
    is typed. login: what stands before an @."""

    scheme: str
    host: str
    path: str
    query: str = ""
    login: str = ""

    @property
    def is_web(self) -> bool:
        return self.scheme in _WEB

    @property
    def shown(self) -> str:
        """For people, and for what is kept: without any secret."""
        return f"{self.scheme}://{self.host}/{self.path}" if self.path else f"{self.scheme}://{self.host}"

    @property
    def plain(self) -> str:
        """What tells it from others, wherever it is kept: neither scheme nor bucket, nor who may read it."""
        kept = _telling(self.query)
        return f"{self.path}?{kept}" if kept else self.path

    @property
    def local(self) -> str:
        """A relative path of this machine that no other address has."""
        inside = self.path.split("/") if self.path else []
        parts = [_safe(part) for part in (self.scheme, self.host, *inside)]
        kept = _telling(self.query)
        if kept:
            last = PurePosixPath(parts[-1])
            parts[-1] = f"{last.stem}~{hashlib.sha256(kept.encode()).hexdigest()[:8]}{last.suffix}"
        return "/".join(parts)

    def beside(self, name: str) -> "Address":
        """The address of what lies below it."""
        return self._replace(path="/".join(part for part in (self.path.rstrip("/"), name) if part))

    def whole(self) -> str:
        """As a program opens it, secrets included."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.host}/{self.path}{query}"


def is_address(word: str) -> bool:
    """Whether a word is a URL of any kind (but for file:), and no path."""
    found = _SCHEME.match(word)
    return found is not None and found.group(1).lower() != "file"


def is_known(word: str) -> bool:
    """Whether it can be fetched from there."""
    found = _SCHEME.match(word)
    return found is not None and found.group(1).lower() in SCHEMES


def parsed(word: str) -> Address:
    """Of a word that `is_known`."""
    scheme, _, rest = word.strip().partition("://")
    scheme = SCHEMES[scheme.lower()]
    if scheme not in _WEB:  # keys of buckets may hold ? and #
        host, _, path = rest.partition("/")
        return Address(scheme, host, path.rstrip("/"))
    split = urlsplit(f"{scheme}://{rest}")
    login, _, host = split.netloc.rpartition("@")
    if not _PORT.search(host) and "@" in rest:  # a password may hold a slash
        login, _, rest = rest.rpartition("@")
        split = urlsplit(f"{scheme}://{rest}")
        host = split.netloc
    return Address(scheme, host, split.path.lstrip("/"), split.query, login)


def without_query(word: str) -> str:
    """A path or address without what only says who may read it."""
    return parsed(word).shown if is_known(word) else word


def _telling(query: str) -> str:
    kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if not _SIGNED.fullmatch(pair[0])]
    return urlencode(kept)


def _safe(part: str) -> str:
    """A name that any file system takes, and that stays another for another part."""
    name = _UNSAFE.sub(lambda found: f"%{ord(found.group()):02X}", part)
    name = name if name.strip(".") else f"%{name}"
    if len(name.encode("utf-8", "surrogateescape")) > _MOST_NAME_BYTES:
        name = f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{PurePosixPath(name).suffix}"
    return name
