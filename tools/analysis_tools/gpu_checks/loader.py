"""Step ``loader``: clips per second of the training's loader, compared with the training step.

JHMDB's clips are decoded and augmented as in the rows of ``jhmdb_to_foggy`` (112 px) and at the
paper's size (20 frames of short side 256), with one worker and with all cores. The training step is
that of the full model in bfloat16, on random clips.
"""

import time

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from mmstal_da.register import register_all_modules

from .context import Context, cores
from .jhmdb import locate
from .networks import CONFIGS, load_row
from .plan import find_row
from .step_time import OURS, ROUNDS, SIZE, WARM_UP, measure
from .step_time import PAIR as PAPERS

SECONDS = 12.0
TINY_BATCHES = 2


def run(name: str, context: Context) -> None:
    """Measure the loaders first, because they fork, then the steps.

    Raises:
        NotPossible: The clips are missing.
    """
    row, found = find_row('full')
    small = locate(found, context.work)
    large = paper_size(small)
    result = dict(row=row, cores=cores(), unit='clips per second, both domains together', sizes={})
    register_all_modules()
    set_multi_processing(**small.env_cfg.mp_cfg)
    for key, config in (('112 px', small), ('256 px', large)):
        batch = 2 * config.train_dataloader.batch_size
        rates = {
            str(workers): round(loader_rate(config, workers, context.tiny), 2)
            for workers in sorted({1, cores()})
        }
        result['sizes'][key] = dict(clips_per_step=batch, loader_by_workers=rates)
        context.save(name, result)
    networks = {'112 px': (small, (112, 149)), '256 px': (load_row(PAPERS, OURS[0]), SIZE)}
    for key, (config, size) in networks.items():
        entry = result['sizes'][key]
        clips = entry['clips_per_step']
        size, rounds, warm_up = ((32, 48), 2, 0) if context.tiny else (size, ROUNDS, WARM_UP)
        timed = measure({row: config}, 'bfloat16', clips, size, context.device, rounds, warm_up)
        entry['step'] = timed[row]['clips_per_second']
        fastest = max(entry['loader_by_workers'].values())
        entry['loader_over_step'] = round(fastest / entry['step'], 3)
        context.save(name, result)


def paper_size(config: Config) -> Config:
    """The same clips at the paper's size: 20 frames of short side 256, no fog."""
    large = Config.fromfile(CONFIGS / '_base_' / 'datasets' / 'pair_256px.py')
    changed = Config(config.to_dict())
    loader = changed.train_dataloader
    loader.batch_size = large.train_dataloader.batch_size
    for side in ('source', 'target'):
        loader.dataset[side].pipeline = large.train_pipeline
    return changed


def loader_rate(config: Config, workers: int, tiny: bool) -> float:
    """Clips per second of a training loader when all its workers are busy."""
    settings = config.train_dataloader.to_dict()
    settings.update(num_workers=workers, persistent_workers=False)
    batches = iter(Runner.build_dataloader(settings, seed=0))
    for _ in range(1 if tiny else 3 * workers):
        next(batches)
    clips, start = 0, time.perf_counter()
    while tiny or time.perf_counter() - start < SECONDS:
        clips += sum(len(part['inputs']) for part in next(batches).values())
        if tiny and clips >= TINY_BATCHES * 2 * settings['batch_size']:
            break
    return clips / (time.perf_counter() - start)
