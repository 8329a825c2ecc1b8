"""TF2: the last Inception modules of I3D, on RoI features."""

import torch
from torch import Tensor

from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values

from ..backbones.inception_i3d import ENDPOINTS, EndpointSequence, endpoint_channels


@MODELS.register_module()
class InceptionRoIStage(EndpointSequence):
    """The rest of I3D after the backbone's endpoint, applied to pooled RoIs (TF2 of the paper).

    Features are averaged over time before RoI pooling, so the kernels over time act on a length-1
    axis **[derived]**: their centre slices are applied in two dimensions. Parameter names are those
    of the public port (``Mixed_5b.b0.conv3d.weight``, …), so the file that initialises the backbone
    also initialises this stage.

    Args:
        after: The endpoint from which the RoI features come.
        end_point: The last endpoint of the stage.
        width: Multiplier of every layer's channels; as the backbone's.
        skip: Endpoints left out. The default drops the pooling: RoIAlign gives 7 x 7 already
            **[derived]**.
        norm_eval: Keep batch norm on its running statistics in training.
        norm_momentum: Share of a batch in the running statistics.
        init_cfg: MMEngine initialisation.
    """

    def __init__(
        self,
        after: str = 'Mixed_4f',
        end_point: str = 'Mixed_5c',
        width: float = 1.0,
        skip: tuple[str, ...] = ('MaxPool3d_5a_2x2',),
        norm_eval: bool = False,
        norm_momentum: float = 0.01,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_values(self.value_rules, dict(width=width))
        in_channels = endpoint_channels(after, width)
        names = list(ENDPOINTS)
        if end_point not in names[names.index(after) + 1 :]:
            raise ValueError(
                f'InceptionRoIStage: no endpoint {end_point!r} after {after!r}; there are '
                f'{", ".join(names[names.index(after) + 1 :])}'
            )
        stage = names[names.index(after) + 1 : names.index(end_point) + 1]
        super().__init__(
            [name for name in stage if name not in skip],
            in_channels,
            width,
            norm_eval,
            norm_momentum,
            init_cfg=init_cfg,
        )
        self.out_channels = endpoint_channels(end_point, width)

    def forward(self, roi_feats: Tensor) -> Tensor:
        """``(R, 832, 7, 7)`` RoI features to ``(R, 1024, 7, 7)``."""
        return self.run_endpoints(roi_feats.contiguous(memory_format=torch.channels_last))
