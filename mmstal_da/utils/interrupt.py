"""Ctrl-C in a tool: one sentence with where it stopped and the command that goes on.

::

    from mmstal_da.utils.interrupt import INTERRUPTED, at_start, interruptible

    at_start(__name__)  # before the imports that take seconds

    def main() -> int:
        with interruptible(__file__) as stop:
            for video in videos:
                stop.where = f'in {video}'
                ...
            return 0
        return INTERRUPTED
"""

import atexit
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C has ended, as in a shell."""
_interrupted = False


class Stop:
    """What will be said if the tool is interrupted.

    Args:
        argv: Path of the tool and its arguments.

    Attributes:
        where: How far the tool is, to be read after "stopped"; or a function that says it then.
        command: What goes on from there; by default the same command. Or a function that says it.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.tool = os.path.basename(argv[0])
        self.where: str | Callable[[], str] = 'before it had begun'
        self.command: Sequence[str] | Callable[[], Sequence[str]] = [_python(), *argv]

    def sentence(self) -> str:
        """``train.py: stopped ...; to go on: python tools/train.py ...``."""
        where = self.where() if callable(self.where) else self.where
        command = self.command() if callable(self.command) else self.command
        return f'{self.tool}: stopped {where}; to go on: {shlex.join(command)}'


def at_start(name: str) -> None:
    """Until :func:`interruptible` takes over, end at once on Ctrl-C, with a sentence.

    Imports of torch and what is built on it take seconds, in which nothing is written. So does
    taking all of it down when Python ends; an interrupted process leaves that out.

    Args:
        name: ``__name__`` of the tool; only the program that was started is watched.
    """
    if name == '__main__':
        signal.signal(signal.SIGINT, _end_at_start)
        atexit.register(_end_if_interrupted)  # the first to be registered is the last to be called


@contextmanager
def interruptible(tool: str, argv: Sequence[str] | None = None) -> Iterator[Stop]:
    """Turn Ctrl-C into a sentence on stderr; the code below the block is then reached.

    The exception passes through the block first, so that open files and processes are cleaned up. A
    second Ctrl-C ends the process at once. Of several processes the first one speaks.

    Args:
        tool: Path of the tool, its ``__file__``.
        argv: Its arguments, if it was called as a function; by default the process's.

    Yields:
        What to say, to be updated while the tool runs.
    """
    stop = Stop(sys.argv if argv is None else [tool, *argv])
    if signal.getsignal(signal.SIGINT) is _end_at_start:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield stop
    except BaseException as error:
        if not is_interruption(error):
            raise
        global _interrupted
        _interrupted = True
        if argv is None:  # the process is this tool's, and ends soon
            signal.signal(signal.SIGINT, _end_now)
        _say(stop)


def is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C led to an exception, be it through a library that made another one of it.

    ``Config.pretty_text``, which MMEngine calls for every checkpoint, has a bare ``except`` that
    raises a ``SyntaxError``.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _python() -> str:
    """How this interpreter is called from a shell: by its name if that finds it."""
    found = shutil.which('python')
    same = found and os.path.dirname(found) == os.path.dirname(sys.executable)
    return 'python' if same else sys.executable


def _say(stop: Stop) -> None:
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        print(f'\n{stop.sentence()}', file=sys.stderr, flush=True)


def _end_at_start(number: int, frame: FrameType | None) -> None:
    _say(Stop(sys.argv))
    os._exit(INTERRUPTED)


def _end_if_interrupted() -> None:
    if _interrupted:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def _end_now(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
