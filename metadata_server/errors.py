"""What can go wrong, by whose fault it is. Texts are `where: what is wrong`, without secrets."""


class ServerError(Exception):
    """Anything the server can explain."""


class ConfigError(ServerError):
    """The operator's configuration; *problems* has a line for each mistake, file and line first."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestError(ServerError):
    """A request that is refused, with the status that says so."""

    status = 400


class BadRequest(RequestError):
    status = 400


class InvalidDocument(BadRequest):
    """A document with mistakes: *problems* is (JSON pointer, text) for each."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = problems


class Unauthorized(RequestError):
    status = 401


class Forbidden(RequestError):
    status = 403


class NotFound(RequestError):
    status = 404


class MethodNotAllowed(RequestError):
    status = 405


class RequestTimeout(RequestError):
    status = 408


class Conflict(RequestError):
    status = 409


class PreconditionFailed(RequestError):
    status = 412


class TooLarge(RequestError):
    status = 413


class Unprocessable(RequestError):
    status = 422


class TooManyRequests(RequestError):
    """A request too soon after others: it may be sent again in *wait* seconds."""

    status = 429

    def __init__(self, text: str, wait: float) -> None:
        super().__init__(text)
        self.wait = wait


class ServiceUnavailable(RequestError):
    status = 503
