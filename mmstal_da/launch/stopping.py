"""Where a training or a test was interrupted, and the command that goes on."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner


class TrainingStop:
    """How far a training is, and how to resume it.

    Args:
        runner: Before it trains.
        command: That started it, as a shell takes it.
    """

    def __init__(self, runner: Runner, command: Sequence[str]) -> None:
        self.runner = runner
        self.begun = command
        self.pointer = Path(runner.work_dir) / 'last_checkpoint'
        self.before = self._saved()
        self.resumed = bool(runner._resume)

    def where(self) -> str:
        """``after iteration 137 of 600 (saved: work_dirs/x/iter_100.pth)``."""
        saved = self._checkpoint()
        text = f'after iteration {self.runner.iter} of {self.runner.max_iters}'
        return f'{text} ({f"saved: {saved}" if saved else "nothing was saved yet"})'

    def command(self) -> list[str]:
        """The command with ``--resume``; without, where nothing was saved to resume from."""
        command = through_launcher(self.begun)
        if self._checkpoint() is None or self._saved() == self.before:
            return command  # a checkpoint in the folder may be of another run
        return [*without_resume(command), '--resume']

    def _saved(self) -> tuple[str, int] | None:
        """The last checkpoint's name, and when it was noted."""
        if not self.pointer.is_file():
            return None
        return self.pointer.read_text().strip(), self.pointer.stat().st_mtime_ns

    def _checkpoint(self) -> str | None:
        """The checkpoint to resume from: this run's, or the one that it was resumed from."""
        saved = self._saved()
        if saved is None or saved == self.before:
            return self.runner._load_from if self.resumed else None
        path = Path(saved[0])
        return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


class PlaceInTest(Hook):
    """Notes how far a test is."""

    def __init__(self) -> None:
        self.batch = 0
        self.total: int | None = None

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Note the batch."""
        self.batch, self.total = batch_idx, len(runner.test_dataloader)

    def where(self) -> str:
        """``after batch 3 of 12 of the test (nothing was written)``."""
        if self.total is None:
            return 'before the test (nothing was written)'
        return f'after batch {self.batch} of {self.total} of the test (nothing was written)'


def without_resume(command: Sequence[str]) -> list[str]:
    """A command without ``--resume`` and its value."""
    kept: list[str] = []
    skip = False
    for word in command:
        name = word.partition('=')[0]
        if skip and not word.startswith('-'):
            skip = False
            continue
        skip = False
        if len(name) > 2 and '--resume'.startswith(name):
            skip = '=' not in word
            continue
        kept.append(word)
    return kept


def through_launcher(command: Sequence[str]) -> list[str]:
    """The command that starts all processes, of that which torchrun has started.

    ``python tools/train.py CONFIG --launcher pytorch FLAGS`` becomes
    ``bash tools/dist_train.sh CONFIG PROCESSES FLAGS``.
    """
    tool, *words = command[1:]
    processes = os.environ.get('LOCAL_WORLD_SIZE')
    if processes is None or '--launcher' not in words:
        return list(command)
    place = words.index('--launcher')
    script = Path(tool).with_name(f'dist_{Path(tool).stem}.sh')
    return ['bash', str(script), *words[:place], processes, *words[place + 2 :]]
