"""Buckets of S3 and Google Cloud Storage, through fsspec. Which keys are used, and of which server, the libraries find
out themselves: from the environment (AWS_PROFILE, AWS_ENDPOINT_URL ...), from files of the user, or of the machine."""

from __future__ import annotations

import asyncio
import logging
import os
import posixpath
import warnings
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Tuple

from asrctl.errors import MissingDependency
from asrctl.messages import reasons
from asrctl.runtime import memory
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

# {scheme: (package, extra)}.
PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs")}
_TAGS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "updated")
_DENIED: Tuple[str, ...] = (
    "NoCredentials",
    "CredentialRetrieval",
    "PartialCredentials",
    "TokenRetrieval",
    "Unauthorized",
    "Forbidden",
)
_DENIED += ("RefreshError", "DefaultCredentials", "ProfileNotFound", "SSOToken", "InvalidAccessKey", "SignatureDoesNot")
_LOGGERS = ("s3fs", "gcsfs", "fsspec", "botocore", "aiobotocore", "google", "asyncio")
# How it is said that there is no login at all.
_NOBODY = ("Unable to locate credentials", "default credentials were not found")
_WRONG = ("ParamValidation", "InvalidRegion", "InvalidBucket", "ConfigParse", "InvalidConfig", "InvalidEndpoint")


class BucketStore(Store):
    """Buckets of one kind."""

    def __init__(self, scheme: str, patience: Patience = Patience()) -> None:
        """Raises MissingDependency."""
        package, extra = PACKAGES[scheme]
        try:
            import fsspec

            kind: Any = fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            memory.raise_shortage(error)
            raise MissingDependency(
                f"addresses of {scheme}:// need the package {package}, which is not installed",
                fix=f"python -m pip install 'asrctl[{extra}]'",
            ) from None
        # Once and for all threads: what they have to say is told by what they raise.
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"(aio)?botocore|s3fs|gcsfs|google|aiohttp")
        known: Dict[str, Any] = {"use_listings_cache": False}
        if scheme == "s3":
            waits = {"connect_timeout": 10, "read_timeout": patience.timeout_s, "retries": {"max_attempts": 1}}
            known["config_kwargs"] = waits
            # As a parameter, because fsspec keeps what it has made by its parameters, and older botocore has no such
            # variables.
            known["endpoint_url"] = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        self._open = lambda **more: kind(**known, **more)
        self._nameless = {"anon": True} if scheme == "s3" else {"token": "anon"}
        with _told():
            self._system = self._open()
        if hasattr(self._system, "retries"):
            self._system.retries = 1  # they are made here, and told

    def info(self, address: Address) -> Optional[Info]:
        if not address.path:
            return None
        try:
            return self._looked_up(address)
        except Refused as error:
            if error.what != DENIED or not any(word in error.reason for word in _NOBODY):
                raise
        # Public data needs no login, and who has none is asked for none there.
        with _told():
            self._system = self._open(**self._nameless)
        return self._looked_up(address)

    def _looked_up(self, address: Address) -> Optional[Info]:
        with _told():
            found = self._system.info(_path(address))
        return None if found.get("type") == "directory" else _info(found)

    def below(self, address: Address) -> Iterator[Tuple[str, Info]]:
        top = _path(address)
        with _told():
            for folder, _, names in self._system.walk(top, detail=True, on_error="raise"):
                inside = folder[len(top) :].strip("/")
                for name, found in sorted(names.items()):
                    if name:
                        yield posixpath.join(inside, name), _info(found)

    def blocks(self, address: Address, start: int, info: Info) -> Iterator[bytes]:
        with self._opened(address, info) as stream:
            if start:
                stream.seek(start)
            while True:
                with _told():
                    block = stream.read(4 * BLOCK)
                if not block:
                    return
                yield block

    def read(self, address: Address, start: int, size: int, info: Info) -> bytes:
        with self._opened(address, info) as stream, _told():
            stream.seek(start)
            return stream.read(size)

    @contextmanager
    def _opened(self, address: Address, info: Info) -> Iterator[Any]:
        """Raises Changed where it is another file by now."""
        with _told():
            stream = self._system.open(_path(address), "rb", block_size=4 * BLOCK, cache_type="none")
            if _info(stream.details).version != info.version:
                raise Changed
        try:
            yield stream
        finally:
            stream.close()


def _path(address: Address) -> str:
    return f"{address.host}/{address.path}".rstrip("/")


def _info(found: Any) -> Info:
    tag = next((str(found[name]) for name in _TAGS if found.get(name)), "")
    return Info(found.get("size"), f"{tag} {found.get('size')}")


@contextmanager
def _told() -> Iterator[None]:
    """Within the block, what the libraries of a cloud raise becomes what a store raises."""
    try:
        yield
    except (Broken, Changed, Refused):
        raise
    except FileNotFoundError as error:
        raise Refused(NOT_THERE, reasons.first_line(error)) from None
    except PermissionError as error:
        raise Refused(DENIED, reasons.first_line(error)) from None
    except Exception as error:  # of fsspec, botocore, aiohttp, google and the system, by generation
        memory.raise_shortage(error)
        raise _kind_of(error) from None


def _kind_of(error: Exception) -> Exception:
    seen: Optional[BaseException] = error
    while seen is not None:
        name, text = type(seen).__name__, str(seen)
        if type(seen).__name__ == "FileExpired" or "PreconditionFailed" in text:
            return Changed()
        if any(word in name or word in text for word in _DENIED):
            return Refused(DENIED, reasons.first_line(seen))
        if any(word in name for word in _WRONG) or isinstance(seen, (TypeError, KeyError)):
            return Refused(OTHER, reasons.first_line(seen))
        seen = seen.__cause__
    if isinstance(error, asyncio.TimeoutError):
        return Broken("it does not answer")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Refused(OTHER, reasons.first_line(error))
    return Broken(reasons.first_line(error))
