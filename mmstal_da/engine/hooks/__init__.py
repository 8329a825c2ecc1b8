from .adaptation_weight_hook import AdaptationWeightHook
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .finite_hook import FiniteHook
from .iteration_seed_hook import IterationSeedHook
from .precision_hook import PrecisionHook
from .tube_visualization_hook import TubeVisualizationHook

__all__ = [
    'AdaptationWeightHook',
    'AtomicCheckpointHook',
    'FiniteHook',
    'IterationSeedHook',
    'PrecisionHook',
    'TubeVisualizationHook',
]
