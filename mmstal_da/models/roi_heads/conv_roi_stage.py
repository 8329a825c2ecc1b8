"""TF2 of a clip backbone that was used up to its last layer: a few convolutions on RoI features."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SWITCH, check_values, several, whole


@MODELS.register_module()
class ConvRoIStage(BaseModule):
    """Convolutions with norm and ReLU on pooled RoIs, before their average **[derived]**.

    Backbones such as SlowFast, MViT and VideoMAE have no last modules that would fit on a RoI. With
    ``kernel_size=1`` this is an MLP on every cell.

    Args:
        in_channels: Channels of the RoI features: ``bbox_roi_extractor.out_channels``.
        channels: Channels after each convolution.
        kernel_size: Of every convolution; odd.
        norm_cfg: Norm layer; None for none.
        norm_eval: Keep batch norm on its running statistics in training.
        init_cfg: MMEngine initialisation.
    """

    value_rules = dict(
        in_channels=whole(), channels=several(whole()), kernel_size=whole(), norm_eval=SWITCH
    )

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (512, 1024),
        kernel_size: int = 3,
        norm_cfg: dict | None = dict(type='BN'),
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.norm_eval = norm_eval
        layers = []
        for width in channels:
            padding = kernel_size // 2
            layers.append(
                ConvModule(in_channels, width, kernel_size, padding=padding, norm_cfg=norm_cfg)
            )
            in_channels = width
        self.layers = nn.Sequential(*layers)
        self.out_channels = in_channels

    def train(self, mode: bool = True) -> 'ConvRoIStage':
        """As :meth:`torch.nn.Module.train`; kept batch norm stays in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, roi_feats: Tensor) -> Tensor:
        """``(R, in_channels, r, r)`` RoI features to ``(R, channels[-1], r, r)``."""
        return self.layers(roi_feats)
