"""API keys."""

import hashlib
import hmac

from pydantic import SecretStr
from starlette.datastructures import Headers

from ..errors import Unauthorized


class Keys:
    """The valid API keys. Without any, every request is allowed."""

    def __init__(self, keys: SecretStr) -> None:
        """Keep only the digests of `keys`, which are separated by commas and validated."""
        text = keys.get_secret_value()
        self._digests = [_digest(key) for key in text.split(",")] if text else []

    def __len__(self) -> int:
        return len(self._digests)

    def check(self, headers: Headers) -> None:
        """Accept `Authorization: Bearer KEY` or `X-API-Key: KEY`. Raises Unauthorized.

        If both headers are present, one valid key is enough.
        """
        if not self._digests:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        received = [_digest(key) for key in (bearer, headers.get("x-api-key", ""))]
        # Digests have equal lengths and all are compared, so the timing reveals nothing.
        matches = [hmac.compare_digest(r, digest) for r in received for digest in self._digests]
        if not any(matches):
            raise Unauthorized("send a valid API key as `Authorization: Bearer KEY` or `X-API-Key`")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
