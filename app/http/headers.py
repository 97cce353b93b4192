"""Security headers: what a browser may do with a response."""

# For every response. One that is not a page may load nothing and may not be framed.
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

_PAGE = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


def _policy(sources: dict[str, str]) -> str:
    return "; ".join(f"{directive} {allowed}" for directive, allowed in sources.items())


PAGE_POLICY = _policy({**_PAGE, "require-trusted-types-for": "'script'"})
API_PAGE_POLICY = _policy({**_PAGE, "style-src": "'self' 'unsafe-inline'"})
