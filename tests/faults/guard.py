"""Runs code that must not hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 60  # far more than any input here takes on a busy machine


class HangError(AssertionError):
    """What was run did not come to an end."""


@contextmanager
def no_hang(what: str) -> Iterator[None]:
    """Fail if the body takes longer than a minute."""

    def stop(*_: object) -> None:
        raise HangError(f'{what} does not come to an end')

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
