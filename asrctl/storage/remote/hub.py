"""Files of repositories on the Hugging Face hub: hf://datasets/OWNER/NAME[@REVISION]/PATH, as its client has them."""

from __future__ import annotations

import re
from typing import Iterator, Mapping, Optional, Tuple
from urllib.parse import quote

from asrctl.messages import reasons
from asrctl.runtime import memory
from asrctl.storage.addresses import Address
from asrctl.storage.remote.stores import DENIED, NOT_THERE, OTHER, Broken, Changed, Info, Refused
from asrctl.storage.remote.web import WebStore

_KINDS = {"datasets": "dataset", "spaces": "space"}


class HubStore(WebStore):
    """The client's endpoint and token are used; a token is sent to the hub alone."""

    def info(self, address: Address) -> Optional[Info]:
        return super().info(address) if _parted(address)[3] else None

    def below(self, address: Address) -> Iterator[Tuple[str, Info]]:
        from huggingface_hub import HfApi, utils

        kind, name, revision, path = _parted(address)
        try:
            found = HfApi().repo_info(name, revision=revision, repo_type=kind, files_metadata=True)
        except utils.GatedRepoError:
            raise Refused(DENIED, "its owner asks for an agreement first") from None
        except (utils.RepositoryNotFoundError, utils.RevisionNotFoundError):
            raise Refused(NOT_THERE, "the hub has no such repository or revision") from None
        except Exception as error:  # the hub client raises many kinds, from several libraries
            memory.raise_shortage(error)
            raise Broken(reasons.first_line(error)) from None
        before = f"{path}/" if path else ""
        for one in found.siblings or ():
            if one.rfilename.startswith(before):
                tag = getattr(one, "blob_id", None) or found.sha
                yield one.rfilename[len(before) :], Info(getattr(one, "size", None), str(tag))

    def blocks(self, address: Address, start: int, info: Info) -> Iterator[bytes]:
        found = self.info(address)  # lists tell the content by other names than answers do
        if found is None or (found.size is not None and found.size != info.size):
            raise Changed
        return super().blocks(address, start, found)

    def read(self, address: Address, start: int, size: int, info: Info) -> bytes:
        kind, _, revision, _ = _parted(address)
        if kind == "dataset" and revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
            return self.part(address, start, size, info)  # of a commit nothing changes
        return super().read(address, start, size, info)

    def url(self, address: Address) -> str:
        from huggingface_hub import constants

        kind, name, revision, path = _parted(address)
        before = "" if kind == "model" else f"{kind}s/"
        return f"{constants.ENDPOINT}/{before}{name}/resolve/{quote(revision or 'main', safe='')}/{quote(path)}"

    def headers(self, address: Address) -> Mapping[str, str]:
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def _parted(address: Address) -> Tuple[str, str, Optional[str], str]:
    """(kind of repository, its name, revision, path in it). Raises Refused."""
    parts = [part for part in (address.host, *address.path.split("/")) if part]
    kind = _KINDS.get(parts[0], "model")
    parts = parts[1:] if kind != "model" else parts
    words = 1 if parts and "@" in parts[0] else 2  # some of the first data sets have no owner
    if len(parts) < words:
        raise Refused(OTHER, "it is not hf://datasets/OWNER/NAME/PATH")
    name, _, revision = "/".join(parts[:words]).partition("@")
    return kind, name, revision or None, "/".join(parts[words:])
