"""What a store of files on other machines can do, and how it fails."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import IO, Callable, Iterator, NamedTuple, Optional, Tuple, TypeVar

from asrctl.storage.addresses import Address

Result = TypeVar("Result")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Patience:
    """timeout_s without a byte breaks a connection; `tries` of these in a row that bring nothing end a download.
    Pauses between them start at pause_s and double."""

    timeout_s: float = 30.0
    tries: int = 5
    pause_s: float = 0.5

    def pause(self, failures: int) -> None:
        time.sleep(self.pause_s * 2 ** (failures - 1))


class Info(NamedTuple):
    """What is known of a file before it is read. version: another one when its content is another, as far as a server
    says so; size: in bytes, None where the server does not say."""

    size: Optional[int]
    version: str


class Broken(Exception):
    """A connection failed; to try again may help."""


class Changed(Exception):
    """The file has another version than before."""


class Refused(Exception):
    """What no other try mends. what: a word for why, of NOT_THERE and others below. reason: in the server's words."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(reason)
        self.what = what
        self.reason = reason


NOT_THERE, DENIED, NO_FOLDERS, OTHER = "not there", "denied", "no folders", "other"


class Store:
    """Files behind one kind of address. Called by several threads. What it raises: Broken, Changed, Refused."""

    def info(self, address: Address) -> Optional[Info]:
        """Of a file; None for a folder."""
        raise NotImplementedError

    def below(self, address: Address) -> Iterator[Tuple[str, Info]]:
        """(path below it, info) of all files of a folder."""
        raise Refused(NO_FOLDERS, "it has no lists of what is in a folder")

    def blocks(self, address: Address, start: int, info: Info) -> Iterator[bytes]:
        """The bytes from `start` on."""
        raise NotImplementedError

    def rewinds(self) -> bool:
        """Whether the last `blocks` of this thread began at 0 after all, as the server knows no other beginning."""
        return False

    def read(self, address: Address, start: int, size: int, info: Info) -> bytes:
        """`size` bytes from `start` on, fewer where the file ends."""
        raise NotImplementedError


def patiently(
    work: Callable[[], Result],
    patience: Patience,
    tell: Callable[[str], None],
    stopped: threading.Event,
    have: Callable[[], int] = lambda: 0,
) -> Result:
    """What `work` returns, tried again where a connection failed. Raises what it raises, at last Broken.

    have: bytes that have come; a try that brought some is no failure.
    """
    failures, mark = 0, have()
    while True:
        try:
            return work()
        except Broken as broken:
            failures, mark = 1 if have() > mark else failures + 1, have()
            if failures >= patience.tries or stopped.is_set():
                raise
            tell(str(broken))
            patience.pause(failures)


def appended(store: Store, address: Address, info: Info, stream: IO[bytes], on_block: Callable[[int], None]) -> None:
    """Bring a stream that holds the beginning of a file to all of it, in one connection."""
    have = stream.seek(0, 2)
    if info.size is not None and have > info.size:
        have = stream.truncate(0)
    if have == info.size:
        return
    is_first = True
    for block in store.blocks(address, have, info):
        if is_first and store.rewinds():
            have = stream.truncate(0)
        is_first = False
        stream.write(block)
        have += len(block)
        on_block(len(block))
    if info.size is not None and have != info.size:
        raise Broken("the connection ended early" if have < info.size else "more came than there should be")
