"""How a tool ends that cannot do what it was asked: with one sentence and an exit status."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmstal_da.errors import (
    AnnotationError,
    ConfigError,
    OutputError,
    ProposalError,
    TrainingError,
    UsageError,
    VideoError,
)

DEBUG = 'MMSTAL_DA_DEBUG'
WRONG_INPUT = (UsageError, ConfigError, AnnotationError, ProposalError)  # exit status 2
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
FAILED = (OutputError, TrainingError, VideoError)  # exit status 1


@contextmanager
def one_sentence(tool: str) -> Iterator[None]:
    """Inside this context, errors of a user's input end the process without a traceback.

    The exit status is 2 for what can be known before the work begins, such as a wrong config, and
    1 for what happened during it. With the environment variable ``MMSTAL_DA_DEBUG=1`` they are
    raised as they are.

    Args:
        tool: Its file, such as ``'train.py'``, with which the sentence begins.
    """
    try:
        yield
    except (*WRONG_INPUT, *FAILED) as error:
        if os.environ.get(DEBUG, '0') != '0':
            raise
        sys.stdout.flush()
        print(f'{tool}: error: {error}', file=sys.stderr, flush=True)
        raise SystemExit(1 if isinstance(error, FAILED) else 2) from None
    except OSError as error:
        if error.errno not in REFUSED or os.environ.get(DEBUG, '0') != '0':
            raise
        sys.stdout.flush()
        print(f'{tool}: error: the file system refuses: {error}', file=sys.stderr, flush=True)
        raise SystemExit(1) from None


@contextmanager
def as_config_error(what: str, applies: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Inside this context, what MMEngine raises where a config is wrong becomes a ConfigError.

    Args:
        what: Begins the message, such as ``'the config cannot be built'``.
        applies: Whether an error is the config's fault; asked when there is one.
    """
    try:
        yield
    except (*WRONG_INPUT, *FAILED):
        raise
    except (
        *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError),
        *(FileNotFoundError, RuntimeError, TypeError, ValueError),
    ) as error:
        if not applies():
            raise
        raise ConfigError(f'{what}: {type(error).__name__}: {error}') from error
