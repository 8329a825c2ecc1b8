from .adaptation_weight_hook import AdaptationWeightHook
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .iteration_seed_hook import IterationSeedHook
from .precision_hook import PrecisionHook
from .tube_visualization_hook import TubeVisualizationHook

__all__ = [
    'AdaptationWeightHook',
    'AtomicCheckpointHook',
    'IterationSeedHook',
    'PrecisionHook',
    'TubeVisualizationHook',
]
