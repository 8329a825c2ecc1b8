"""The project's registries: children of MMEngine's, scope ``mmstal_da``.

Components of this package have bare names (``type='ActionTubeDetector'``), those of other
libraries a prefix (``type='mmdet.ResNet'``, ``type='mmaction.Flip'``).
"""

from mmstal_da import compat  # noqa: F401  (first: repairs what importing mmaction needs)
import mmengine.registry
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

import mmaction.registry  # (makes the prefix `mmaction.` known)
import mmdet.registry  # (makes the prefix `mmdet.` known)


class ModelRegistry(Registry):
    """A registry that also finds what a user registered in MMAction2's or MMDetection's.

    A bare name that this registry and MMEngine's lack means the class of that name in
    ``mmaction.registry.MODELS`` or ``mmdet.registry.MODELS``, if only one of them has it.
    """

    def get(self, key: str) -> type | None:
        """The class of a name; None if there is none, or several."""
        found = super().get(key)
        if found is None and '.' not in key:
            siblings = (mmaction.registry.MODELS, mmdet.registry.MODELS)
            classes = [node.module_dict[key] for node in siblings if key in node.module_dict]
            found = classes[0] if len(classes) == 1 else None
        return found


# detectors, backbones, RoI heads, adaptation modules, data preprocessors
MODELS = ModelRegistry(
    'model', parent=MMENGINE_MODELS, scope='mmstal_da', locations=['mmstal_da.models']
)
# schedules of lambda
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, scope='mmstal_da', locations=['mmstal_da.models']
)
# tube datasets and the dual-domain wrapper
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmstal_da', locations=['mmstal_da.datasets']
)
# clip sampling, decoding, packing
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmstal_da', locations=['mmstal_da.datasets']
)
# the resumable sampler of training draws
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='mmstal_da',
    locations=['mmstal_da.datasets'],
)
# the adaptation-weight ramp, per-iteration seeding
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmstal_da', locations=['mmstal_da.engine'])
# the training loop that resumes without replaying the data
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmstal_da', locations=['mmstal_da.engine'])
# bfloat16 autocast on CPU and GPU
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmstal_da',
    locations=['mmstal_da.engine'],
)
# frame-mAP and video-mAP
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='mmstal_da', locations=['mmstal_da.evaluation.metrics']
)

# the assigners of boxes that are ignored or have several classes. A child of MMDetection's, whose
# classes look up others by bare names (MaxIoUAssigner looks up BboxOverlaps2D)
TASK_UTILS = Registry(
    'task util',
    parent=mmdet.registry.TASK_UTILS,
    scope='mmstal_da',
    locations=['mmstal_da.models'],
)
# StrictPretrained, registered in MMEngine's own registry: layers are initialised without a scope
Registry(
    'weight initializer',
    parent=mmengine.registry.WEIGHT_INITIALIZERS,
    scope='mmstal_da',
    locations=['mmstal_da.pretrained.strict'],
)
# Empty so far: through these children, bare names of MMEngine (OptimWrapper, AdamW, LinearLR,
# LogProcessor, …) are found from this scope without a warning.
for _parent in (
    mmengine.registry.LOG_PROCESSORS,
    mmengine.registry.OPTIM_WRAPPER_CONSTRUCTORS,
    mmengine.registry.OPTIMIZERS,
    mmengine.registry.PARAM_SCHEDULERS,
    mmengine.registry.VISBACKENDS,
    mmengine.registry.VISUALIZERS,
):
    Registry(_parent.name, parent=_parent, scope='mmstal_da', locations=['mmstal_da.engine'])
