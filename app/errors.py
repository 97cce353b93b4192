"""Everything that can go wrong, as one tree.

PasticheError
|-- RequestError                what the caller can mend: 4xx
|   |-- BadOption               422 bad_option
|   |-- UnknownStyle            404 unknown_style
|   |-- MissingImage            422 missing_image
|   |-- MalformedBody           400 malformed_body
|   |-- BodyTooLarge            413 body_too_large
|   |-- RequestTimeout          408 request_timeout
|   |-- UnsupportedEncoding     415 unsupported_encoding
|   |-- UnsupportedImage        415 unsupported_image
|   |-- AnimatedImage           422 animated_image
|   |-- BrokenImage             422 broken_image
|   |-- ImageTooSmall           422 image_too_small
|   |-- ImageTooLarge           413 image_too_large
|   |-- Unauthorized            401 unauthorized
|   |-- NotFound                404 not_found
|   |-- MethodNotAllowed        405 method_not_allowed
|   `-- HeaderTooLarge          431 header_too_large
|-- Unavailable                 503, with a time to come back
|   |-- Overloaded              503 overloaded
|   |-- DeadlineExceeded        503 deadline
|   |-- NotReady                503 not_ready
|   `-- OutOfMemory             503 out_of_memory
|-- InferenceFailed             500 inference_failed
|-- BadOutput                   500 bad_output
|-- ModelFolderError            a model folder cannot be served (start-up)
|-- DeviceUnavailable           the device that was asked for cannot be had (start-up)
`-- SettingsError               a setting has a value that is not allowed (start-up)

Pillow's errors become these in `images`, ONNX Runtime's in `device`; none passes those seams.
"""

from collections.abc import Mapping


class PasticheError(Exception):
    """Base of all. `str(error)` is a sentence that may be shown to a caller."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer carries beside the usual ones."""
        return {}


class RequestError(PasticheError):
    """The request is at fault."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class BadOption(RequestError):
    """An option has a value that is not allowed."""

    status, code, title = 422, "bad_option", "Option not allowed"


class UnknownStyle(RequestError):
    """No loaded network has the style."""

    status, code, title = 404, "unknown_style", "Unknown style"


class MissingImage(RequestError):
    """The request brings no image."""

    status, code, title = 422, "missing_image", "Image missing"


class MalformedBody(RequestError):
    """The body cannot be parsed as what its Content-Type says."""

    status, code, title = 400, "malformed_body", "Malformed body"


class BodyTooLarge(RequestError):
    """The body has more bytes than the server takes."""

    status, code, title = 413, "body_too_large", "Body too large"


class RequestTimeout(RequestError):
    """The request came too slowly."""

    status, code, title = 408, "request_timeout", "Request timeout"

    @property
    def headers(self) -> Mapping[str, str]:
        """Connection: what may still come of the request is not waited for."""
        return {"Connection": "close"}


class UnsupportedEncoding(RequestError):
    """The body is compressed, or encoded in another way."""

    status, code, title = 415, "unsupported_encoding", "Content-Encoding not supported"

    @property
    def headers(self) -> Mapping[str, str]:
        """Accept-Encoding, as RFC 9110 has it for this answer."""
        return {"Accept-Encoding": "identity"}


class UnsupportedImage(RequestError):
    """The content is no image of an allowed format."""

    status, code, title = 415, "unsupported_image", "Image format not supported"


class AnimatedImage(RequestError):
    """The image has more than one frame."""

    status, code, title = 422, "animated_image", "Image animated"


class BrokenImage(RequestError):
    """The image is of an allowed format but cannot be decoded."""

    status, code, title = 422, "broken_image", "Broken image"


class ImageTooSmall(RequestError):
    """A side is shorter than the networks can paint."""

    status, code, title = 422, "image_too_small", "Image too small"


class ImageTooLarge(RequestError):
    """The image has more pixels, or bytes of them, than the server decodes."""

    status, code, title = 413, "image_too_large", "Image too large"


class Unauthorized(RequestError):
    """The request brings no API key that is known."""

    status, code, title = 401, "unauthorized", "Unauthorized"

    @property
    def headers(self) -> Mapping[str, str]:
        """WWW-Authenticate, as every 401 must have it."""
        return {"WWW-Authenticate": 'Bearer realm="pastiche"'}


class NotFound(RequestError):
    """There is nothing at this path."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(RequestError):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow

    @property
    def headers(self) -> Mapping[str, str]:
        """Allow, if it is known."""
        return {"Allow": self.allow} if self.allow else {}


class HeaderTooLarge(RequestError):
    """The request line and the header fields have more bytes or lines than the server takes."""

    status, code, title = 431, "header_too_large", "Header too large"


class Unavailable(PasticheError):
    """Not now: the same request may succeed after `retry_after` seconds."""

    status = 503

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """Retry-After, in seconds."""
        return {"Retry-After": str(self.retry_after)}


class Overloaded(Unavailable):
    """The queue is full."""

    code, title = "overloaded", "Overloaded"


class DeadlineExceeded(Unavailable):
    """The request waited too long for its turn."""

    code, title = "deadline", "Deadline exceeded"


class NotReady(Unavailable):
    """The server is loading, draining, or has nothing to serve."""

    code, title = "not_ready", "Not ready"


class OutOfMemory(Unavailable):
    """The device has no memory left for this picture, or for the graph."""

    code, title = "out_of_memory", "Out of memory"


class InferenceFailed(PasticheError):
    """The runtime failed while painting."""

    status, code, title = 500, "inference_failed", "Inference failed"


class BadOutput(PasticheError):
    """What the network painted is no picture."""

    status, code, title = 500, "bad_output", "Bad output"


class ModelFolderError(PasticheError):
    """A model folder, or a file of it, is missing or damaged; the message names the file."""


class DeviceUnavailable(PasticheError):
    """The device that was asked for cannot be had; the message says why."""


class SettingsError(PasticheError):
    """A setting has a value that is not allowed; the message names it."""
