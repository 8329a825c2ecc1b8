"""Makes the config that is run from a config file and flags."""

import os
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import ConfigParsingError
from mmengine.device import get_device
from mmengine.logging import print_log

from mmstal_da.errors import UsageError

from .checkpoints import check_checkpoint
from .options import check_names, override
from .values import check_config_values

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def load_config(path: str, cfg_options: dict | None = None) -> Config:
    """Read a config and override values in it.

    Args:
        path: Config file, of this project or of MMAction2.
        cfg_options: ``{'optim_wrapper.optimizer.lr': 0.1}``: dotted key to value.

    Raises:
        UsageError: There is no such file, or it is no config, or an override changes nothing.
        ConfigError: A name in it is nearly that of a key, which nothing reads. Or a value means
            nothing, see :mod:`~mmstal_da.launch.values`.
    """
    cfg = read_file(path)
    check_names(cfg, path)
    if cfg_options:
        override(cfg, cfg_options, path)
    check_config_values(cfg)
    return cfg


def read_file(path: str, import_custom_modules: bool = True) -> Config:
    """A config file as it is.

    Raises:
        UsageError: There is no such file, or it is no config.
    """
    if not Path(path).is_file():
        raise UsageError(f'config {path} does not exist; the configs are listed in README.md')
    try:
        return Config.fromfile(path, import_custom_modules=import_custom_modules)
    except (
        *(ArithmeticError, AttributeError, ImportError, LookupError, NameError, OSError),
        *(RuntimeError, SyntaxError, TypeError, ValueError, ConfigParsingError),
    ) as error:
        raise UsageError(
            f'config {path} cannot be read: {type(error).__name__}: {error}'
        ) from error


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None) -> None:
    """Set ``cfg.work_dir``: the flag, else the config's, else ``work_dirs/<config name>``."""
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(config_path).stem)


def set_randomness(
    cfg: Config, seed: int | None, deterministic: bool = False, diff_rank_seed: bool = False
) -> None:
    """Set the seed and the related settings.

    MMAction2's tool drops all three if the config has a key ``randomness``. Here every given value
    takes effect, and the others stay as in the config.
    """
    randomness = cfg.get('randomness') or ConfigDict()
    if seed is not None:
        randomness['seed'] = seed
    if deterministic:
        randomness['deterministic'] = True
    if diff_rank_seed:
        randomness['diff_rank_seed'] = True
    randomness.setdefault('seed', None)
    cfg.randomness = randomness


def set_resume(cfg: Config, resume: str | None) -> None:
    """Resume from a checkpoint, or with ``'auto'`` from the last one in ``cfg.work_dir``.

    If nothing was saved yet, ``'auto'`` trains from the beginning. It then still loads the weights
    that ``cfg.load_from`` names (MMAction2's tool drops those).

    Raises:
        UsageError: The checkpoint does not exist.
        CheckpointError: It cannot be read, or has no weights that could be trained on.
    """
    if resume is None:
        return
    if resume != 'auto':
        cfg.resume = True
        cfg.load_from = check_checkpoint(resume)
        return
    pointer = Path(cfg.work_dir) / 'last_checkpoint'
    if not pointer.is_file():
        print_log(f'--resume: nothing was saved in {cfg.work_dir}; training from the beginning')
        cfg.resume = False
        return
    last = pointer.read_text().strip()
    if not Path(last).exists():
        raise UsageError(
            f'{pointer} names the checkpoint {last}, which does not exist (was the folder moved?); '
            'name the checkpoint to continue from: --resume CHECKPOINT'
        )
    cfg.resume = True
    cfg.load_from = check_checkpoint(last)


def set_amp(cfg: Config) -> None:
    """Train in mixed precision: float16 on a GPU, bfloat16 on a CPU that has it.

    MMEngine's ``AmpOptimWrapper`` (float16 with loss scaling) runs on accelerators only, so on a
    CPU it is ``BFloat16OptimWrapper``, which computes in float32 where bfloat16 is not native.

    Raises:
        UsageError: The config has an optimizer wrapper of its own kind, or several.
    """
    wrapper = cfg.get('optim_wrapper') or ConfigDict()
    kind = wrapper.get('type', 'OptimWrapper')
    kind = kind if isinstance(kind, str) else kind.__name__
    kind = kind.rpartition('.')[2]
    if kind == 'BFloat16OptimWrapper':
        return
    if kind not in ('OptimWrapper', 'AmpOptimWrapper') or 'optimizer' not in wrapper:
        raise UsageError(
            f'--amp supports one OptimWrapper, not optim_wrapper.type = {kind!r} with the keys '
            f'{sorted(wrapper)}; set mixed precision in the config'
        )
    if get_device() == 'cpu':
        print_log('--amp: no GPU, so BFloat16OptimWrapper takes the place of AmpOptimWrapper')
        wrapper.type = 'mmstal_da.BFloat16OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):  # AmpOptimWrapper's own
            wrapper.pop(key, None)
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def set_launcher(cfg: Config, launcher: str, local_rank: int = 0) -> None:
    """Set the launcher; on machines without accelerator connect the processes.

    MMEngine's ``init_dist`` and ``wrap_model`` select the CUDA device ``LOCAL_RANK``, which a CPU
    does not have. Without one, this function connects the processes through gloo, and the model is
    wrapped without a device.
    """
    cfg.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher != 'pytorch' or get_device() != 'cpu':
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or ConfigDict(
        broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)
    )
    wrapper.device_ids = None
    cfg.model_wrapper_cfg = wrapper
