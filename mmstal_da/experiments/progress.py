"""How far a run is, from the scalars that MMEngine writes while it trains."""

import json
from dataclasses import dataclass
from pathlib import Path

TAIL = 8192  # bytes; a line of scalars has about a thousand


@dataclass(frozen=True)
class Progress:
    """The last line that training logged.

    Attributes:
        iteration: Iterations done.
        seconds: Seconds per iteration, as logged; None if not logged.
    """

    iteration: int
    seconds: float | None

    def eta(self, max_iters: int) -> float | None:
        """Seconds to the end of the training."""
        return None if self.seconds is None else self.seconds * (max_iters - self.iteration)


def read_progress(work_dir: Path) -> Progress | None:
    """Progress of the newest start in a work directory; None before its first line.

    Reads the end of one file, whatever its length.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        return None
    with open(files[-1], 'rb') as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL))
        lines = file.read().split(b'\n')[:-1]  # the last one may be half-written
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the first one is cut by the seek
            continue
        if isinstance(record, dict) and 'iter' in record:
            return Progress(int(record['iter']), record.get('time'))
    return None


def format_seconds(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; ``?`` for None."""
    if seconds is None:
        return '?'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
