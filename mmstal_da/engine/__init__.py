from .atomic_backend import AtomicLocalBackend
from .hooks import *  # noqa: F403
from .loops import DrawTrainLoop
from .optim_wrapper import BFloat16OptimWrapper

__all__ = ['AtomicLocalBackend', 'BFloat16OptimWrapper', 'DrawTrainLoop']
