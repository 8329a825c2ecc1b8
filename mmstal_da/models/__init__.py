from .adaptation import *  # noqa: F403
from .assigners import IgnoringAssigner, MultiLabelAssigner  # noqa: F401
from .backbones import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .detectors import *  # noqa: F403
from .roi_heads import *  # noqa: F403
