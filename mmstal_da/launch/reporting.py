"""How a tool ends that cannot do what it was asked: with one sentence and an exit status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmstal_da.errors import (
    AnnotationError,
    ConfigError,
    ProposalError,
    TrainingError,
    UsageError,
    VideoError,
)

DEBUG = 'MMSTAL_DA_DEBUG'
WRONG_INPUT = (UsageError, ConfigError, AnnotationError, ProposalError)  # exit status 2
FAILED = (TrainingError, VideoError)  # exit status 1


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
