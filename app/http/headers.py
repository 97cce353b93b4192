"""Security headers: what a browser may do with a response."""

import base64
import hashlib
import re

# For every response. One that is not a page may load nothing and may not be framed.
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def page_policy(page: str, *hosts: str) -> str:
    """Return the Content-Security-Policy of a page, with its inline scripts allowed by digest.

    hosts: other origins of scripts and styles, such as `https://cdn.example`.
    """
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    sources = " ".join(["'self'", *hosts])
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src", sources, *(f"'sha256-{digest}'" for digest in digests)]),
            f"style-src {sources} 'unsafe-inline'",  # scripts also set styles on elements
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
