"""API keys: who may call."""

import hashlib
import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers

from ..errors import Unauthorized


class Keys:
    """The keys that are let in; with none of them, everyone is."""

    def __init__(self, keys: SecretStr) -> None:
        """keys: separated by commas, as Settings has checked them. Only their digests are kept."""
        text = keys.get_secret_value()
        self._digests = [_digest(key) for key in text.split(",")] if text else []

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, headers: Headers) -> None:
        """Accept `Authorization: Bearer KEY` or `X-API-Key: KEY`. Raises Unauthorized.

        One valid key suffices, even beside another that is not.
        """
        if not self._digests:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        sent = [_digest(key) for key in (bearer, headers.get("x-api-key", ""))]
        # Digests have one length, and all of them are compared: the time tells nothing of a key.
        matches = [hmac.compare_digest(s, digest) for s in sent for digest in self._digests]
        if not any(matches):
            raise Unauthorized("send a valid API key as `Authorization: Bearer KEY` or `X-API-Key`")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
