"""What can go wrong for the `linklocal` command, and the exit status that says so."""

DONE = 0
FAILED = 1
DEGRADED = 2
NOT_FINAL = 3
USAGE = 64


class CtlError(Exception):
    """Something that ends the command with one line of text."""

    status = FAILED


class UsageError(CtlError):
    """The command was not given what it needs."""

    status = USAGE


class Refused(CtlError):
    """The server answered with an error; *code* is its HTTP status, *mistakes* are all it found."""

    def __init__(self, code: int, text: str, mistakes: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.mistakes = mistakes
