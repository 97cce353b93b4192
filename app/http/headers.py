"""Headers that keep a browser from doing with our answers what they are not for."""

import base64
import hashlib
import re

# Of every answer: what is no page may load nothing and stand in no frame.
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def page_policy(page: str, *hosts: str) -> str:
    """The Content-Security-Policy of a page: itself, its inline scripts by digest, and `hosts`.

    hosts: origins that scripts and styles may come from, such as `https://cdn.example`.
    """
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    sources = " ".join(["'self'", *hosts])
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src", sources, *(f"'sha256-{digest}'" for digest in digests)]),
            f"style-src {sources} 'unsafe-inline'",  # what a script sets on elements, too
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
