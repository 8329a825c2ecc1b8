from .atomic_backend import AtomicLocalBackend
from .hooks import *  # noqa: F403

__all__ = ['AtomicLocalBackend']
