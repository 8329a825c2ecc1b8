"""What a config says of the backbones' maps against the maps: strides and channels."""

from collections.abc import Sequence

from torch import Tensor

from mmstal_da.errors import ConfigError

ROI = 'model.roi_head.bbox_roi_extractor'


def check_maps(detector, size: Sequence[int], spatial: Tensor, temporal: Tensor) -> None:
    """Check strides, channels and ``pad_size_divisor``.

    A wrong stride of anchors or RoIs puts them elsewhere than the features that are pooled for
    them. Nothing else would notice.

    Args:
        detector: An :class:`ActionTubeDetector`.
        size: Height and width of the input in pixels.
        spatial: SF(K) ``(N, C, h, w)``.
        temporal: TF1(V), averaged over time, ``(N, C, h, w)``.

    Raises:
        ConfigError: Names the key, its value, and what it must be.
    """
    strides = [tuple(stride) for stride in detector.rpn_head.prior_generator.strides]
    _check_stride('model.rpn_head.anchor_generator.strides', strides, 'SF(K)', size, spatial)
    extractor = detector.roi_head.bbox_roi_extractor
    roi_strides = [(stride, stride) for stride in extractor.featmap_strides]
    _check_stride(f'{ROI}.featmap_strides', roi_strides, 'TF1(V)', size, temporal)
    divisor = getattr(detector.data_preprocessor, 'pad_size_divisor', None)
    if divisor is not None and divisor % strides[0][0]:
        raise ConfigError(
            f'model.data_preprocessor.pad_size_divisor is a multiple of the stride of the maps,'
            f' {strides[0][0]}, not {divisor}'
        )
    for key, given, name, feature_map in (
        ('model.rpn_head.in_channels', detector.rpn_head.in_channels, 'SF(K)', spatial),
        (f'{ROI}.out_channels', extractor.out_channels, 'TF1(V)', temporal),
    ):
        if given != feature_map.shape[1]:
            raise ConfigError(f'{key} is {given}, but {name} has {feature_map.shape[1]} channels')
    stage = getattr(detector.roi_head, 'shared_head', None)
    width, given = getattr(stage, 'out_channels', None), detector.roi_head.bbox_head.in_channels
    if width is not None and width != given:
        raise ConfigError(
            f'model.roi_head.bbox_head.in_channels is {given}, but TF2 has {width} channels'
        )


def _check_stride(
    key: str, strides: list[tuple], name: str, size: Sequence[int], feature_map: Tensor
) -> None:
    values = [along_x for along_x, _ in strides]
    if len(strides) != 1:
        raise ConfigError(f'{key} has one value, of the one map {name}; it is {values}')
    height, width = feature_map.shape[-2:]
    along_x, along_y = strides[0]
    expected = tuple(
        -(-pixels // int(s)) for pixels, s in zip(size, (along_y, along_x), strict=True)
    )
    if expected != (height, width):
        true = round(max(size[0] / height, size[1] / width))
        raise ConfigError(
            f'{key} is {values}, but {name} is {height} x {width} for an input of'
            f' {size[0]} x {size[1]} pixels: its stride is {true}'
        )
