"""What a step is told, and how it says that it cannot run."""

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
        work: Folder of checkpoints, logs and whatever else is not to be kept.
        tiny: Two iterations on a CPU, to try the steps themselves.
    """

    out: Path
    work: Path
    tiny: bool

    @property
    def device(self) -> str:
        """Where networks run."""
        return 'cpu' if self.tiny else 'cuda'

    def result_file(self, step: str) -> Path:
        """What a step leaves of its numbers, complete or not."""
        return self.work / f'{step}.result.json'

    def save(self, step: str, result: dict) -> None:
        """Leave what is known so far: it is kept even if the step is stopped later."""
        write_json(self.result_file(step), result)

    def to_arguments(self) -> dict:
        """For JSON."""
        return {**asdict(self), 'out': os.fspath(self.out), 'work': os.fspath(self.work)}

    @classmethod
    def from_arguments(cls, arguments: dict) -> 'Context':
        """Of :meth:`to_arguments`."""
        return cls(Path(arguments['out']), Path(arguments['work']), arguments['tiny'])


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))
