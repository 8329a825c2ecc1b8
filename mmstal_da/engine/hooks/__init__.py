from .adaptation_weight_hook import AdaptationWeightHook
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .iteration_seed_hook import IterationSeedHook
from .precision_hook import PrecisionHook

__all__ = ['AdaptationWeightHook', 'AtomicCheckpointHook', 'IterationSeedHook', 'PrecisionHook']
