"""One map for RoIAlign from whatever a clip backbone returns: TF1(V) on the key frame's grid."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmstal_da.models.layers.batch_layout import Extents, extend_edges, zero_padding

HELP = {
    2: "a vector per clip; stop before its global pooling (return_feat_map=True of MMAction2's"
    ' VisionTransformer, another end_point of InceptionI3D)',
    3: 'a sequence of tokens; give a backbone that returns maps',
}


def no_padding(height: int, width: int) -> None:
    """Every image covers all of a map."""


def clip_map(
    output: Tensor | Sequence,
    grid: tuple[int, int],
    network: str,
    extents: Callable[[int, int], Extents | None] = no_padding,
) -> Tensor:
    """TF1(V): averaged over time, on a given grid, the maps of several pathways concatenated.

    A map of a smaller stride is averaged over the cells of the grid, one of a larger stride is
    interpolated bilinearly **[derived]**. A map that fits already is returned unchanged.

    Args:
        output: What the clip backbone returned: a map ``(N, C, T, h, w)`` or ``(N, C, h, w)``, or a
            sequence of these, such as SlowFast's slow and fast features.
        grid: Height and width (h, w) of the key frame's map.
        network: The backbone's name, for messages.
        extents: What every image covers of a map of so many rows and columns; the rest is padding.

    Returns:
        ``(N, C, h, w)``, C summed over the sequence.

    Raises:
        RuntimeError: The output has no map, or one whose stride is no multiple or fraction of the
            key frame's.
    """
    maps = list(output) if isinstance(output, list | tuple) else [output]
    if not maps:
        raise RuntimeError(f'model.clip_backbone: {network} returned nothing')
    fitted = [_fit(_over_time(one, network), grid, network, extents) for one in maps]
    return fitted[0] if len(fitted) == 1 else torch.cat(fitted, 1)


def _over_time(one: object, network: str) -> Tensor:
    """A map averaged over time."""
    if isinstance(one, list | tuple):
        raise RuntimeError(
            f'model.clip_backbone: {network} returned {len(one)} tensors for one scale, as MViT'
            ' does with its class token; set output_cls_token=False'
        )
    if not isinstance(one, Tensor) or one.dim() not in (4, 5):
        what = type(one).__name__
        if isinstance(one, Tensor):
            what = f'{tuple(one.shape)}, {HELP.get(one.dim(), "no map")}'
        raise RuntimeError(
            f'model.clip_backbone: {network} must return maps (N, C, T, h, w), or several of them;'
            f' it returned {what}'
        )
    return one.mean(2) if one.dim() == 5 else one


def _fit(
    feature: Tensor,
    grid: tuple[int, int],
    network: str,
    extents: Callable[[int, int], Extents | None],
) -> Tensor:
    """A map ``(N, C, h', w')`` on a grid of (h, w) cells over the same pixels."""
    own = (feature.shape[2], feature.shape[3])
    if own == tuple(grid):
        return feature
    finer = [a // b for a, b in zip(own, grid, strict=True)]
    if finer[0] == finer[1] and own == tuple(cells * finer[0] for cells in grid):
        return F.avg_pool2d(feature, finer[0])
    coarser = [b // a for a, b in zip(own, grid, strict=True)]
    if coarser[0] == coarser[1] and tuple(grid) == tuple(cells * coarser[0] for cells in own):
        # at an image's end as at the end of a map, where interpolation repeats the last cell
        feature = extend_edges(feature, extents(*own))
        feature = F.interpolate(feature, size=tuple(grid), mode='bilinear', align_corners=False)
        return zero_padding(feature, extents(*grid))
    raise RuntimeError(
        f"model.clip_backbone: {network}'s map has {own[0]} x {own[1]} cells, the key frame's"
        f' {grid[0]} x {grid[1]}: neither grid is the other one divided. Pad the input to a'
        ' multiple of both strides (model.data_preprocessor.pad_size_divisor), or change a stride'
    )
