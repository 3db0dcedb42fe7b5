"""Files on other machines: which there are, what version they have, and their bytes from any place on.

`open_store` gives what speaks to one kind of address. Credentials are those that the libraries find themselves.
"""

from __future__ import annotations

from asrctl.storage.addresses import Address
from asrctl.storage.remote.stores import Patience, Store


def open_store(address: Address, patience: Patience) -> Store:
    """Raises MissingDependency."""
    if address.is_web:
        from asrctl.storage.remote.web import WebStore

        return WebStore(patience)
    if address.scheme == "hf":
        from asrctl.storage.remote.hub import HubStore

        return HubStore(patience)
    from asrctl.storage.remote.buckets import BucketStore

    return BucketStore(address.scheme, patience)
