"""The three domain discriminators: D_S, D_Timg and D_Tinst of the paper; and one by class.

Each takes features behind a gradient-reversal layer and returns raw logits; positive means
"target".
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmstal_da.errors import ConfigError
from mmstal_da.models.layers.batch_layout import Extents, without_padding, zero_padding
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, number, several, whole


@MODELS.register_module()
class SpatialDiscriminator(BaseModule):
    """D_S: one logit per image from the key frame's feature map SF(K).

    Stride-2 3x3 convolutions with batch norm, ReLU and dropout, global average, one linear layer
    **[derived]**: the global discriminator of Strong-Weak DA (Saito et al., CVPR 2019).

    Args:
        in_channels: Channels of SF(K).
        channels: Channels after each convolution.
        dropout: Dropout after each convolution.
        init_cfg: MMEngine initialisation.
    """

    value_rules = dict(in_channels=whole(), channels=several(whole()), dropout=number(0, below=1))

    def __init__(
        self,
        in_channels: int = 1024,
        channels: Sequence[int] = (512, 128, 128),
        dropout: float = 0.5,
        init_cfg: dict | list | None = None,
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for width in channels:
            layers += [
                nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
            ]
            in_channels = width
        self.convs = nn.Sequential(*layers)
        self.fc = nn.Linear(in_channels, 1)

    def forward(self, feat: Tensor, extents: Extents | None = None) -> Tensor:
        """``(N, 1024, h, w)`` to logits ``(N, 1)``.

        Args:
            feat: The maps.
            extents: (rows, columns) that each image covers of its map; the rest is padding, of
                which the logits do not depend. None: every image covers all of it.
        """
        if extents is None:
            return self.fc(self.convs(feat).mean((2, 3)))
        x = zero_padding(feat, extents)
        for layer in self.convs:
            if isinstance(layer, nn.BatchNorm2d):
                cells, restore = without_padding(x, extents)
                x = restore(layer(cells))
            else:
                x = layer(x)
            if isinstance(layer, nn.Conv2d):  # of stride 2
                extents = tuple((-(-rows // 2), -(-columns // 2)) for rows, columns in extents)
        count = x.new_tensor([rows * columns for rows, columns in extents])
        return self.fc(x.sum((2, 3)) / count[:, None])


@MODELS.register_module()
class TemporalImageDiscriminator(BaseModule):
    """D_Timg: a map of logits Q from the pooled clip features TF1(V).

    Two 1x1 convolutions with a ReLU between **[derived]**; the 2D map is the paper's.

    Args:
        in_channels: Channels of TF1(V).
        channels: Channels between the convolutions.
        init_cfg: MMEngine initialisation.
    """

    value_rules = dict(in_channels=whole(), channels=whole())

    def __init__(
        self,
        in_channels: int = 832,
        channels: int = 512,
        init_cfg: dict | list | None = dict(type='Normal', layer='Conv2d', std=0.01),
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, 1, 1)

    def forward(self, feat: Tensor) -> Tensor:
        """``(N, 832, h, w)`` to logits ``(N, 1, h, w)``."""
        return self.conv2(self.relu(self.conv1(feat)))


@MODELS.register_module()
class TemporalInstanceDiscriminator(BaseModule):
    """D_Tinst: one logit per proposal from its feature TF2(TF1(V)), before the classifier.

    Three linear layers with ReLU and dropout **[derived]**: the instance discriminator of
    DA-Faster R-CNN (Chen et al., CVPR 2018).

    Args:
        in_channels: Channels of the RoI vector.
        channels: Channels of the hidden layers.
        dropout: Dropout after each hidden layer.
        init_cfg: MMEngine initialisation.
    """

    value_rules = dict(in_channels=whole(), channels=whole(), dropout=number(0, below=1))

    def __init__(
        self,
        in_channels: int = 1024,
        channels: int = 1024,
        dropout: float = 0.5,
        init_cfg: dict | list | None = dict(type='Normal', layer='Linear', std=0.01),
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.in_channels = in_channels
        self.layers = _vector_layers(in_channels, channels, dropout, 1)

    def forward(self, feat: Tensor) -> Tensor:
        """``(R, 1024)`` to logits ``(R, 1)``; R may be 0."""
        return self.layers(feat)


def _vector_layers(in_channels: int, channels: int, dropout: float, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_channels, channels),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(channels, channels),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(channels, outputs),
    )


@MODELS.register_module()
class ClassWiseInstanceDiscriminator(BaseModule):
    """D_Tinst with a last layer for each class, after MADA (Pei et al., AAAI 2018).

    The logit of a proposal is the sum of its classes' logits, each times the probability of the
    class that the detector gives the proposal. So a class of the target is compared with the same
    class of the source, and the background with the background. MADA has whole discriminators per
    class, and the probability multiplies the features; here classes share the hidden layers
    **[derived]**. The probabilities get no gradient.

    Args:
        num_classes: Of the detector; the background is one more.
        in_channels, channels, dropout, init_cfg: As :class:`TemporalInstanceDiscriminator`.
    """

    takes_classes = True
    value_rules = dict(TemporalInstanceDiscriminator.value_rules, num_classes=whole())

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1024,
        channels: int = 1024,
        dropout: float = 0.5,
        init_cfg: dict | list | None = dict(type='Normal', layer='Linear', std=0.01),
    ) -> None:
        check_values(self.value_rules, locals())
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.layers = _vector_layers(in_channels, channels, dropout, num_classes + 1)

    def forward(self, feat: Tensor, probabilities: Tensor) -> Tensor:
        """``(R, 1024)`` and ``(R, C + 1)``, the background last, to logits ``(R, 1)``.

        Raises:
            ConfigError: The detector has another number of classes.
        """
        if probabilities.shape[1] != self.num_classes + 1:
            raise ConfigError(
                f'model.adaptation.temporal_instance.num_classes is {self.num_classes}, but the'
                f' detector has {probabilities.shape[1] - 1} classes'
            )
        return (self.layers(feat) * probabilities).sum(1, keepdim=True)
