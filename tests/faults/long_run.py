"""A long training that measures itself: ``python -m tests.faults.long_run FOLDER``."""

import contextlib
import gc
import json
import os
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmstal_da.register import register_all_modules
from tests.faults import forked
from tests.faults.tiny_pair import ROOT
from tests.tiny_runner import make_runner

ITERS = 2000
EVERY = 400


class Measure(Hook):
    """Prints memory, open files and objects of this process now and then, one JSON line each."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (runner.iter + 1) % EVERY:
            return
        gc.collect()
        children = forked.children_of(os.getpid())
        found = dict(
            iteration=runner.iter + 1,
            memory=resident(os.getpid()),
            children=len(children),
            memory_of_children=sum(map(resident, children)),
            files=open_files(),
            objects=len(gc.get_objects()),
        )
        print('measured', json.dumps(found), flush=True)


def resident(pid: int) -> int:
    """Resident memory of a process, in kB."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS'))


def open_files() -> int:
    """Of this process, without the shared memory of batches that are on their way."""
    found = 0
    for path in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):  # of the listing itself
            found += '/torch_' not in os.readlink(path)
    return found


def main(folder: Path) -> None:
    """Train with the default hooks of the configs, and workers that load the data."""
    torch.set_num_threads(1)
    register_all_modules()
    base = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py', import_custom_modules=False)
    hooks = base.default_hooks.to_dict()
    hooks['checkpoint']['interval'] = 100
    hooks['visualization']['val_pictures'] = 0  # there are no pictures
    x = torch.linspace(-1, 1, 16).reshape(8, 2)
    points = [dict(x=row, y=row.sum(0, keepdim=True)) for row in x]
    sampler = InfiniteSampler(points, shuffle=False)
    runner = make_runner(
        folder,
        ITERS,
        {},
        default_hooks=hooks,
        custom_hooks=[Measure()],
        train_dataloader=DataLoader(points, batch_size=4, sampler=sampler, num_workers=2),
        val_dataloader=DataLoader(points, batch_size=4, num_workers=1),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=ITERS, val_interval=EVERY // 2),
        visualizer=base.visualizer.to_dict(),
        log_processor=base.log_processor.to_dict(),
        default_scope='mmstal_da',
    )
    runner.train()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
