"""TF2 of MMAction2's 3D ResNets that stop before their last stage: that stage, on RoI features."""

from mmengine.model import BaseModule
from mmengine.model.weight_init import constant_init, kaiming_init
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmstal_da.registry import MODELS
from mmstal_da.utils.values import SWITCH, check_values, choice, whole


@MODELS.register_module()
class ResNet3dRoIStage(BaseModule):
    """The last stage of ``ResNet3d`` or ``ResNet3dSlowOnly`` on pooled RoIs (TF2 of the paper).

    The layers are upstream's and have its names (``layer4.0.conv1.conv.weight``, …), so the file
    that initialises a backbone with ``num_stages=3`` also initialises this stage. Features are
    averaged over time before RoI pooling, so kernels over time see one step between zeros
    **[derived]**.

    Args:
        depth: Depth of the ResNet: 18, 34, 50, 101 or 152.
        base_channels: Width of its stem, as the backbone's. The input has
            ``4 * base_channels * expansion`` channels, 1024 for ResNet-50.
        spatial_stride: Of the first block. The default 1 keeps the RoI map, as in MMAction2's
            detectors on AVA.
        inflate: Whether the blocks have kernels over time, as the backbone's last stage.
        style: ``'pytorch'`` or ``'caffe'``, as the backbone's.
        norm_cfg: Norm layer.
        norm_eval: Keep batch norm on its running statistics in training.
        init_cfg: MMEngine initialisation. None: Kaiming, the last norm of every block 0.
    """

    STAGE = 3

    value_rules = dict(
        depth=choice(18, 34, 50, 101, 152),
        base_channels=whole(),
        spatial_stride=whole(),
        inflate=choice(0, 1),
        style=choice('pytorch', 'caffe'),
        norm_eval=SWITCH,
    )

    def __init__(
        self,
        depth: int = 50,
        base_channels: int = 64,
        spatial_stride: int = 1,
        inflate: int = 1,
        style: str = 'pytorch',
        norm_cfg: dict = dict(type='BN3d', requires_grad=True),
        norm_eval: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        from mmaction.models.backbones.resnet3d import ResNet3d  # imports all models

        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        if depth not in ResNet3d.arch_settings:
            depths = ', '.join(map(str, ResNet3d.arch_settings))
            raise ValueError(f'ResNet3dRoIStage: depth is one of {depths}, not {depth!r}')
        block, blocks = ResNet3d.arch_settings[depth]
        planes = base_channels * 2**self.STAGE
        self.norm_eval = norm_eval
        self.layer4 = ResNet3d.make_res_layer(
            block,
            planes // 2 * block.expansion,
            planes,
            blocks[self.STAGE],
            spatial_stride=spatial_stride,
            inflate=inflate,
            style=style,
            norm_cfg=norm_cfg,
            act_cfg=dict(type='ReLU', inplace=True),
            conv_cfg=dict(type='Conv3d'),
        )
        self.out_channels = planes * block.expansion

    def init_weights(self) -> None:
        """From ``init_cfg``, else as MMAction2's backbones from random weights."""
        if self.init_cfg:
            super().init_weights()
            return
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                kaiming_init(module)
        for block in self.layer4:
            constant_init(getattr(block, 'conv3', block.conv2).bn, 0)

    def train(self, mode: bool = True) -> 'ResNet3dRoIStage':
        """As :meth:`torch.nn.Module.train`; kept batch norm stays in eval mode."""
        super().train(mode)
        if self.norm_eval:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, roi_feats: Tensor) -> Tensor:
        """``(R, 1024, r, r)`` RoI features to ``(R, 2048, r, r)``."""
        return self.layer4(roi_feats.unsqueeze(2)).squeeze(2)
