"""The input of a step, and the exception of a step that cannot run."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mmstal_da.utils.io import write_json


class NotPossible(Exception):
    """Data or weights are missing; the message says which and how to get them."""


@dataclass(frozen=True)
class Context:
    """What all steps share.

    Attributes:
        out: Folder of the results.
        work: Folder of checkpoints, logs and other files that need not be kept.
        tiny: Two iterations on a CPU, to try the steps themselves.
    """

    out: Path
    work: Path
    tiny: bool

    @property
    def device(self) -> str:
        """The device on which networks run."""
        return 'cpu' if self.tiny else 'cuda'

    def result_file(self, step: str) -> Path:
        """The file of a step's numbers, complete or not."""
        return self.work / f'{step}.result.json'

    def save(self, step: str, result: dict) -> None:
        """Write the results so far; they are kept even if the step is stopped later."""
        write_json(self.result_file(step), result)

    def to_arguments(self) -> dict:
        """The context as a dict for JSON."""
        return {**asdict(self), 'out': os.fspath(self.out), 'work': os.fspath(self.work)}

    @classmethod
    def from_arguments(cls, arguments: dict) -> 'Context':
        """The inverse of :meth:`to_arguments`."""
        return cls(Path(arguments['out']), Path(arguments['work']), arguments['tiny'])


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
