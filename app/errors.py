"""All exceptions, in one tree.

PasticheError
|-- RequestError                the client can correct it: 4xx
|   |-- BadOption               422 bad_option
|   |-- UnknownStyle            404 unknown_style
|   |-- NoGenerator             404 no_generator
|   |-- MissingImage            422 missing_image
|   |-- MalformedBody           400 malformed_body
|   |-- BodyTooLarge            413 body_too_large
|   |-- RequestTimeout          408 request_timeout
|   |-- UnsupportedEncoding     415 unsupported_encoding
|   |-- UnsupportedMediaType    415 unsupported_media_type
|   |-- UnsupportedImage        415 unsupported_image
|   |-- BrokenImage             422 broken_image
|   |-- ImageTooLarge           413 image_too_large
|   |-- Unauthorized            401 unauthorized
|   |-- NotFound                404 not_found
|   |-- MethodNotAllowed        405 method_not_allowed
|   `-- HeaderTooLarge          431 header_too_large
|-- Unavailable                 the client can retry: 503, with Retry-After
|   |-- Overloaded              503 overloaded
|   |-- DeadlineExceeded        503 deadline
|   |-- NotReady                503 not_ready
|   `-- OutOfMemory             503 out_of_memory
|-- InferenceFailed             500 inference_failed
|-- BadOutput                   500 bad_output
|-- ModelFolderError            a model folder cannot be served (start-up)
|-- DeviceUnavailable           the requested device does not work (start-up)
`-- SettingsError               a setting is invalid (start-up)

`pixels.images` translates Pillow's exceptions into these, `engine.devices` those of the runtimes.
"""

from collections.abc import Mapping


class PasticheError(Exception):
    """Base class. `str(error)` may be shown to clients, unless it is raised only at start-up."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    @property
    def headers(self) -> Mapping[str, str]:
        """Additional headers of the response."""
        return {}


class RequestError(PasticheError):
    """The request is invalid."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class BadOption(RequestError):
    """An option is unknown, missing, given twice, or has an invalid value."""

    status, code, title = 422, "bad_option", "Option not allowed"


class UnknownStyle(RequestError):
    """No network has a style of this id."""

    status, code, title = 404, "unknown_style", "Unknown style"


class NoGenerator(RequestError):
    """The style can paint images, but no loaded generator has it."""

    status, code, title = 404, "no_generator", "Style without a generator"


class MissingImage(RequestError):
    """The request contains no image."""

    status, code, title = 422, "missing_image", "Image missing"


class MalformedBody(RequestError):
    """The body does not match its Content-Type."""

    status, code, title = 400, "malformed_body", "Malformed body"


class BodyTooLarge(RequestError):
    """The body is larger than the server accepts."""

    status, code, title = 413, "body_too_large", "Body too large"


class RequestTimeout(RequestError):
    """The client sent the request too slowly."""

    status, code, title = 408, "request_timeout", "Request timeout"

    @property
    def headers(self) -> Mapping[str, str]:
        """Connection: the rest of the request is not read."""
        return {"Connection": "close"}


class UnsupportedEncoding(RequestError):
    """The body has a Content-Encoding, such as gzip."""

    status, code, title = 415, "unsupported_encoding", "Content-Encoding not supported"

    @property
    def headers(self) -> Mapping[str, str]:
        """Accept-Encoding, as RFC 9110 requires for this status."""
        return {"Accept-Encoding": "identity"}


class UnsupportedMediaType(RequestError):
    """The body is not a form."""

    status, code, title = 415, "unsupported_media_type", "Media type not supported"


class UnsupportedImage(RequestError):
    """The file is not an image of a format that is allowed and can be read."""

    status, code, title = 415, "unsupported_image", "Image format not supported"


class BrokenImage(RequestError):
    """The image is damaged and cannot be decoded."""

    status, code, title = 422, "broken_image", "Broken image"


class ImageTooLarge(RequestError):
    """The image has more pixels than the server decodes, or needs too much memory."""

    status, code, title = 413, "image_too_large", "Image too large"


class Unauthorized(RequestError):
    """The request has no valid API key."""

    status, code, title = 401, "unauthorized", "Unauthorized"

    @property
    def headers(self) -> Mapping[str, str]:
        """WWW-Authenticate, which every 401 must have."""
        return {"WWW-Authenticate": 'Bearer realm="pastiche"'}


class NotFound(RequestError):
    """The path does not exist."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(RequestError):
    """The path does not support the method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, message: str, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow

    @property
    def headers(self) -> Mapping[str, str]:
        """Allow, if the methods are known."""
        return {"Allow": self.allow} if self.allow else {}


class HeaderTooLarge(RequestError):
    """The request line and the header fields are larger than the server accepts."""

    status, code, title = 431, "header_too_large", "Header too large"


class Unavailable(PasticheError):
    """The request may succeed after `retry_after` seconds."""

    status = 503

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """Retry-After, in seconds."""
        return {"Retry-After": str(self.retry_after)}


class Overloaded(Unavailable):
    """The server has no room for another request."""

    code, title = "overloaded", "Overloaded"


class DeadlineExceeded(Unavailable):
    """The request waited too long in the queue."""

    code, title = "deadline", "Deadline exceeded"


class NotReady(Unavailable):
    """The server is loading, draining or unavailable."""

    code, title = "not_ready", "Not ready"


class OutOfMemory(Unavailable):
    """The device has not enough memory for the picture or the network."""

    code, title = "out_of_memory", "Out of memory"


class InferenceFailed(PasticheError):
    """ONNX Runtime failed to run the network."""

    status, code, title = 500, "inference_failed", "Inference failed"


class BadOutput(PasticheError):
    """The network's output is not a valid picture."""

    status, code, title = 500, "bad_output", "Bad output"


class ModelFolderError(PasticheError):
    """A model folder or one of its files is missing or damaged; the message names the file."""


class DeviceUnavailable(PasticheError):
    """The requested device does not work; the message says why."""


class SettingsError(PasticheError):
    """A setting is invalid; the message names it."""
