"""Builds a runner from a config."""

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from mmstal_da import compat
from mmstal_da.engine.hooks import FiniteHook
from mmstal_da.engine.precision import has_native_bfloat16
from mmstal_da.utils.collect_env import collect_env


def computes_in_bfloat16(cfg: Config) -> bool:
    """Whether a config trains or tests in bfloat16 autocast on this machine."""
    if not has_native_bfloat16():
        return False
    wrapper = (cfg.get('optim_wrapper') or {}).get('type', '')
    wrapper = wrapper if isinstance(wrapper, str) else wrapper.__name__
    if wrapper.endswith('BFloat16OptimWrapper'):
        return True
    loops = [cfg.get(name) or {} for name in ('val_cfg', 'test_cfg')]
    # MMEngine's loops take float16 on a GPU
    return get_device() == 'cpu' and any(loop.get('fp16') for loop in loops)


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config and write the environment into its log."""
    if computes_in_bfloat16(cfg):
        compat.accept_bfloat16_scores()
    if 'runner_type' in cfg:
        from mmaction.registry import RUNNERS

        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    if 'finite' not in (cfg.get('default_hooks') or {}):  # a config of MMAction2, for instance
        runner.register_hook(FiniteHook())
    report = '\n'.join(f'    {name}: {value}' for name, value in collect_env(basic=False).items())
    runner.logger.info(f'Versions of the stack:\n{report}')
    return runner
