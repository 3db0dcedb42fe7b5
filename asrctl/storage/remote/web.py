"""Files of web servers, by the standard library: fsspec wants aiohttp, which the datasets library no longer brings.

A file is asked for by GET alone, as an address that is signed for it is refused for HEAD.
"""

from __future__ import annotations

import base64
import http.client
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import Any, Iterator, Mapping, Optional

from asrctl.messages import reasons
from asrctl.storage.addresses import Address
from asrctl.storage.remote.stores import (
    BLOCK,
    DENIED,
    NOT_THERE,
    OTHER,
    Broken,
    Changed,
    Info,
    Patience,
    Refused,
    Store,
)

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PASSING = (408, 425, 429)
_DENIED = (401, 403, 407)


class WebStore(Store):
    """Files by http and https. A login in the address is sent to its own host only."""

    def __init__(self, patience: Patience = Patience()) -> None:
        self._patience = patience
        self._last = threading.local()

    def info(self, address: Address) -> Optional[Info]:
        with self._answer(address, {"Range": "bytes=0-0"}) as answer:
            return _info(answer)

    def blocks(self, address: Address, start: int, info: Info) -> Iterator[bytes]:
        self._last.rewound = False
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._answer(address, headers) as answer:
            if _info(answer).version != info.version:
                raise Changed
            self._last.rewound = start > 0 and not _begins_at(answer, start)
            while True:
                block = _some(answer, BLOCK)
                if not block:
                    return
                yield block

    def rewinds(self) -> bool:
        return bool(getattr(self._last, "rewound", False))

    def read(self, address: Address, start: int, size: int, info: Info) -> bytes:
        return self.part(address, start, size, info, info.version)

    def part(self, address: Address, start: int, size: int, info: Info, version: Optional[str] = None) -> bytes:
        """The same, whatever version it has where none is given."""
        with self._answer(address, {"Range": f"bytes={start}-{start + size - 1}"}) as answer:
            if version is not None and _info(answer).version != version:
                raise Changed
            if not _begins_at(answer, start) and (start or answer.status != 200):
                raise Refused(OTHER, "its server gives no parts of files")
            found = b""
            while len(found) < size:
                block = _some(answer, size - len(found))
                if not block:
                    break
                found += block
        wanted = size if info.size is None else max(0, min(size, info.size - start))
        if len(found) < wanted:
            raise Broken("the connection ended early")
        return found

    def headers(self, address: Address) -> Mapping[str, str]:
        """Those that say who asks; they are not handed on to where a server may lead."""
        if not address.login:
            return {}
        from urllib.parse import unquote

        return {"Authorization": "Basic " + base64.b64encode(unquote(address.login).encode()).decode()}

    def url(self, address: Address) -> str:
        return _ascii(address.whole())

    @contextmanager
    def _answer(self, address: Address, headers: Mapping[str, str]) -> Iterator[Any]:
        try:
            asked = urllib.request.Request(self.url(address), headers={"User-Agent": "asrctl", **headers})
            asked.add_header("Accept-Encoding", "identity")
            for name, value in self.headers(address).items():
                asked.add_unredirected_header(name, value)
            answer = urllib.request.urlopen(asked, timeout=self._patience.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, str(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise Broken(_why(error)) from None
        except ValueError as error:
            raise Refused(OTHER, reasons.reason(error)) from None
        with answer:
            yield answer


def _ascii(url: str) -> str:
    """Of an address as people may write it, with spaces and letters of any script."""
    from urllib.parse import quote

    return quote(url, safe="%/:=&?~#+!$,;'@()*[]")


def _refusal(code: int, reason: str) -> Exception:
    told = f"the server answers {code} {reason}".strip()
    if code >= 500 or code in _PASSING:
        return Broken(told)
    if code == 416:
        return Changed()
    return Refused(DENIED if code in _DENIED else NOT_THERE if code in (404, 410) else OTHER, told)


def _why(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError) and inner.strerror:
        return str(inner.strerror)
    return str(inner or "") or reasons.reason(error)


def _some(answer: Any, limit: int) -> bytes:
    try:
        return answer.read1(limit)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Broken(_why(error)) from None


def _info(answer: Any) -> Info:
    headers = answer.headers
    found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    length = headers.get("Content-Length", "")
    size = int(found.group(3)) if found else int(length) if length.isdigit() and answer.status == 200 else None
    tag = headers.get("ETag", "") or headers.get("Last-Modified", "")
    return Info(size, f"{tag[2:] if tag.startswith('W/') else tag} {size}".strip())


def _begins_at(answer: Any, start: int) -> bool:
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    return answer.status == 206 and found is not None and int(found.group(1)) == start
