from .adaptation_monitor_hook import AdaptationMonitorHook
from .adaptation_weight_hook import AdaptationWeightHook
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .burn_in_teacher_hook import BurnInTeacherHook
from .domain_gap_hook import DomainGapHook
from .finite_hook import FiniteHook
from .iteration_seed_hook import IterationSeedHook
from .label_free_views_hook import LabelFreeViewsHook
from .precision_hook import PrecisionHook
from .tube_memory_hook import TubeMemoryHook
from .tube_visualization_hook import TubeVisualizationHook

__all__ = [
    'AdaptationMonitorHook',
    'AdaptationWeightHook',
    'AtomicCheckpointHook',
    'BurnInTeacherHook',
    'DomainGapHook',
    'FiniteHook',
    'IterationSeedHook',
    'LabelFreeViewsHook',
    'PrecisionHook',
    'TubeMemoryHook',
    'TubeVisualizationHook',
]
