"""What is told where a file from elsewhere can not be had."""

from __future__ import annotations

from typing import Optional

from asrctl.errors import BadData, MissingArtifact
from asrctl.messages import amounts
from asrctl.storage.addresses import Address
from asrctl.storage.remote.stores import DENIED, NO_FOLDERS, NOT_THERE, Refused

_LOGINS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to a login that may read it",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a login that may read it",
    "hf": "set HF_TOKEN to a token that may read it",
}
_SIGNED = "check the address: where it is signed, its time may be over"


class NotFetched(BadData):
    """One file that can not be had, where others can."""


def refused(address: Address, error: Refused) -> NotFetched:
    """What no other try mends."""
    shown = address.shown
    if error.what == NOT_THERE:
        bucket = "the bucket and the path" if not address.is_web else "the address"
        why = f" ({error.reason})" if error.reason and not error.reason.endswith(address.path or "\0") else ""
        return NotFetched(f"there is no {shown}{why}", fix=f"correct {bucket}")
    if error.what == DENIED:
        fix = _LOGINS.get(address.scheme, _SIGNED)
        return NotFetched(f"{shown} may not be read ({error.reason})", fix=fix)
    if error.what == NO_FOLDERS:
        fix = "name a file: an archive, a shard, or a list with the address of each recording"
        return NotFetched(f"{shown} is a folder of a web server, and these have no lists of their files", fix=fix)
    return NotFetched(f"{shown} can not be fetched ({error.reason})", fix="correct the address")


def broken(address: Address, reason: str, have: int, size: Optional[int]) -> BadData:
    """What another try may mend."""
    at = f"; it goes on at {amounts.size(have)}" + (f" of {amounts.size(size)}" if size is not None else "")
    fix = "check the network and run the command again" + (at if have else "")
    return BadData(f"{address.shown} could not be fetched: {reason}", fix=fix)


def changing(address: Address) -> NotFetched:
    return NotFetched(
        f"{address.shown} changes while it is read", fix="wait until it is written to its end, and run again"
    )


def forbidden(address: Address) -> MissingArtifact:
    return MissingArtifact(
        f"{address.shown} would have to be fetched", fix="run without --no-download, or name files of this machine"
    )
