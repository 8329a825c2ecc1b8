"""How far a run is, from the scalars that MMEngine writes while it trains."""

import json
from pathlib import Path

TAIL = 8192  # bytes; a line of scalars has about a thousand


def read_progress(work_dir: Path) -> tuple[int, float | None] | None:
    """The last line that the newest start in a work directory logged; None before the first line.

    Reads the end of one file, whatever its length.

    Returns:
        Iterations done, and seconds per iteration (None if not logged).
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
            return int(record['iter']), record.get('time')
    return None
