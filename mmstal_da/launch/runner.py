"""Builds a runner from a config."""

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmstal_da import compat
from mmstal_da.engine.hooks import FiniteHook
from mmstal_da.engine.precision import has_native_bfloat16
from mmstal_da.errors import TrainingError
from mmstal_da.utils.collect_env import collect_env

from .checkpoints import LoadedWeightsHook
from .reporting import REFUSED, as_config_error


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


def build_runner(cfg: Config, testing: bool = False) -> Runner:
    """Build the runner of a config and write the environment into its log.

    Args:
        cfg: The whole config.
        testing: Whether it is to test: its checkpoint must then be of the model.

    Raises:
        ConfigError: The config cannot be built.
    """
    with as_config_error('the config cannot be built'):
        runner = _build(cfg)
    runner.register_hook(LoadedWeightsHook(testing))
    runner.register_hook(_Begins())
    report = '\n'.join(f'    {name}: {value}' for name, value in collect_env(basic=False).items())
    runner.logger.info(f'Versions of the stack:\n{report}')
    return runner


def start(runner: Runner, stage: str) -> None:
    """Train or test. What fails before the first batch is the config's fault.

    Args:
        runner: Of :func:`build_runner`.
        stage: ``'train'`` or ``'test'``.

    Raises:
        ConfigError: Data, loops or optimizer cannot be built, or weights do not fit.
        TrainingError: A disk is full or may not be written, or another process has ended.
    """
    begins = next(hook for hook in runner.hooks if isinstance(hook, _Begins))
    try:
        with as_config_error('the config cannot be run', lambda: not begins.begun):
            getattr(runner, stage)()
    except RuntimeError as error:
        lost = ('closed by peer', 'onnection reset', 'onnection refused', 'Broken pipe')
        if not is_distributed() or not any(words in str(error) for words in lost):
            raise
        raise TrainingError(
            f'another process of this {stage}ing has ended: {str(error).splitlines()[0]}. Its log'
            f' says why{"; go on with --resume" if stage == "train" else ""}'
        ) from error
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise TrainingError(
            f'{stage} stopped, the file system refuses: {error}. Make room or let it be written'
            f'{", and go on with --resume" if stage == "train" else ""}'
        ) from error


class _Begins(Hook):
    """Notes that everything is built and loaded."""

    priority = 'VERY_HIGH'
    begun = False

    def before_train(self, runner) -> None:
        self.begun = True

    def before_test(self, runner) -> None:
        self.begun = True


def _build(cfg: Config) -> Runner:
    if computes_in_bfloat16(cfg):
        compat.accept_bfloat16_scores()
    if 'runner_type' in cfg:
        from mmaction.registry import RUNNERS

        runner = RUNNERS.build(cfg)
    else:
        runner = Runner.from_cfg(cfg)
    if 'finite' not in (cfg.get('default_hooks') or {}):  # a config of MMAction2, for instance
        runner.register_hook(FiniteHook())
    return runner
