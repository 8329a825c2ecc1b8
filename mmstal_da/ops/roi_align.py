"""RoIAlign in torch alone.

RoIAlign (He et al., Mask R-CNN, ICCV 2017) samples a map bilinearly on a grid inside every bin.
Bilinear weights are a product of one weight per axis, and so is the sum over a bin's grid. So a
RoI's bins are ``Y F X^T`` with one interpolation matrix per axis, and the gradient at ``F`` is
``Y^T G X``. Matrix products do both quickly on CPUs and GPUs.

Conventions are those of ``mmcv.ops.roi_align`` 2.1: a RoI is ``(image, x1, y1, x2, y2)`` in pixels
of the input image, ``spatial_scale`` scales it to the map, ``aligned`` shifts it by half a cell.
Samples more than one cell outside the map count as zero. Other samples outside the map are moved
to its border.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# numbers in the largest intermediate result; more RoIs are pooled in several parts
_LARGEST = 1 << 24
# cells up to which one product with the weights of all cells is faster than one per axis
_SMALL_MAP = 128


class Geometry(NamedTuple):
    """How RoIs are divided into bins.

    Attributes:
        size: ``(height, width)`` of the output, in bins.
        spatial_scale: Cells of the map per pixel of the image.
        sampling_ratio: Samples per bin and axis; 0 takes one per cell, rounded up, for every RoI.
        aligned: Whether a cell's centre is at half its index. False: the older convention, which
            also makes RoIs at least one cell large.
    """

    size: tuple[int, int]
    spatial_scale: float
    sampling_ratio: int
    aligned: bool


class _Axis(NamedTuple):
    """Interpolation along one axis for R RoIs, b bins, at most g samples a bin, n cells."""

    weights: Tensor  # (R, b, g, n): bilinear weights; zero where there is no sample
    number: Tensor  # (R,): samples per bin

    def mean(self) -> Tensor:
        """(R, b, n): weights of a bin's mean along this axis."""
        return self.weights.sum(2) / self.number.clamp(min=1)[:, None, None]


def roi_align_forward(features: Tensor, rois: Tensor, geometry: Geometry) -> Tensor:
    """Average RoIAlign.

    Args:
        features: (N, C, H, W), of any floating type; float64 is computed in float64, all others in
            float32.
        rois: (R, 5) = image index, x1, y1, x2, y2.
        geometry: How RoIs become bins.

    Returns:
        (R, C, *geometry.size) of the type of ``features``. Zero where a RoI has no sample.
    """
    output = features.new_zeros((len(rois), features.shape[1], *geometry.size))
    for image, part, axes in _parts(features.shape, rois, geometry, _compute_type(features)):
        y, x = (axis.mean() for axis in axes)
        output[part] = _interpolate(features[image].to(y.dtype), y, x).to(output.dtype)
    return output


def roi_align_backward(
    grad: Tensor, rois: Tensor, geometry: Geometry, shape: Sequence[int]
) -> Tensor:
    """Gradient of :func:`roi_align_forward` at the features.

    Args:
        grad: (R, C, *geometry.size), gradient at the output.
        rois: (R, 5), as in the forward pass.
        geometry: As in the forward pass.
        shape: ``(N, C, H, W)`` of the features.

    Returns:
        The gradient, of that shape and the type of ``grad``.
    """
    result = grad.new_zeros(shape, dtype=_compute_type(grad))
    for image, part, axes in _parts(shape, rois, geometry, result.dtype):
        y, x = (axis.mean() for axis in axes)
        result[image] += _interpolate_back(grad[part].to(y.dtype), y, x)
    return result.to(grad.dtype)


def roi_align_max_forward(
    features: Tensor, rois: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor]:
    """RoIAlign with the largest sample of a bin in place of the mean.

    Args:
        features: (N, C, H, W).
        rois: (R, 5).
        geometry: How RoIs become bins.

    Returns:
        Output (R, C, *geometry.size), and of the same shape the row and the column of the largest
        sample in its bin's grid. A RoI without a sample gives 0 (compiled mmcv: -10000) and -1.
    """
    rows, columns = geometry.size
    output = features.new_zeros((len(rois), features.shape[1], rows, columns))
    argmax_y, argmax_x = torch.full_like(output, -1), torch.full_like(output, -1)
    for image, part, axes in _parts(features.shape, rois, geometry, _compute_type(features)):
        y, x = (axis.weights.flatten(1, 2) for axis in axes)
        gy, gx = (axis.weights.shape[2] for axis in axes)
        if not gy or not gx:
            continue
        samples = _interpolate(features[image].to(y.dtype), y, x)  # (R, C, rows*gy, columns*gx)
        samples = samples.reshape(*samples.shape[:2], rows, gy, columns, gx).transpose(3, 4)
        steps = [torch.arange(n, device=rois.device) for n in (gy, gx)]
        inside = (steps[0] < axes[0].number[:, None])[:, :, None] & (
            steps[1] < axes[1].number[:, None]
        )[:, None]  # (R, gy, gx)
        samples = samples.masked_fill(~inside[:, None, None, None], -torch.inf).flatten(4)
        best, index = samples.max(-1)
        found = inside.flatten(1).any(1)[:, None, None, None]
        output[part] = torch.where(found, best, 0).to(output.dtype)
        argmax_y[part] = torch.where(found, index // gx, -1).to(output.dtype)
        argmax_x[part] = torch.where(found, index % gx, -1).to(output.dtype)
    return output, argmax_y, argmax_x


def roi_align_max_backward(
    grad: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    geometry: Geometry,
    shape: Sequence[int],
) -> Tensor:
    """Gradient of :func:`roi_align_max_forward` at the features.

    Args:
        grad: (R, C, *geometry.size), gradient at the output.
        rois: (R, 5), as in the forward pass.
        argmax_y: From the forward pass.
        argmax_x: From the forward pass.
        geometry: As in the forward pass.
        shape: ``(N, C, H, W)`` of the features.

    Returns:
        The gradient, of that shape and the type of ``grad``.
    """
    result = grad.new_zeros(shape, dtype=_compute_type(grad))
    rows, columns = geometry.size
    for image, part, axes in _parts(shape, rois, geometry, result.dtype):
        y, x = (axis.weights.flatten(1, 2) for axis in axes)
        gy, gx = (axis.weights.shape[2] for axis in axes)
        if not gy or not gx:
            continue
        row, column = argmax_y[part].long(), argmax_x[part].long()
        values = torch.where(row >= 0, grad[part].to(y.dtype), 0)
        samples = values.new_zeros((*values.shape, gy * gx))
        samples.scatter_(-1, (row * gx + column).clamp(min=0)[..., None], values[..., None])
        samples = samples.unflatten(-1, (gy, gx)).transpose(3, 4)
        samples = samples.reshape(*values.shape[:2], rows * gy, columns * gx)
        result[image] += _interpolate_back(samples, y, x)
    return result.to(grad.dtype)


def _compute_type(values: Tensor) -> torch.dtype:
    """float64 stays, everything else is computed in float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _parts(shape: Sequence[int], rois: Tensor, geometry: Geometry, dtype: torch.dtype):
    """RoIs of one image after the other, in parts that need a bounded amount of memory.

    Yields:
        The image's index, the RoIs' indices (r,), their interpolation along y and x.

    Raises:
        ValueError: A RoI names an image that the features do not have.
    """
    images, channels, height, width = shape
    if not len(rois):
        return
    owner = rois[:, 0].long()
    if int(owner.min()) < 0 or int(owner.max()) >= images:
        raise ValueError(
            f'RoIAlign: RoIs name the images {int(owner.min())} to {int(owner.max())}, and the '
            f'features have {images}'
        )
    boxes = rois[:, 1:].to(dtype) * geometry.spatial_scale - (0.5 if geometry.aligned else 0)
    start, extent = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]  # (R, 2): x, y
    if not geometry.aligned:
        extent = extent.clamp(min=1)
    samples = max(geometry.sampling_ratio, 1)
    step = max(1, _LARGEST // max(1, geometry.size[0] * samples * width * channels))
    for image in owner.unique().tolist():
        for part in (owner == image).nonzero()[:, 0].split(step):
            yield (
                image,
                part,
                (
                    _axis(start[part, 1], extent[part, 1], geometry.size[0], height, geometry),
                    _axis(start[part, 0], extent[part, 0], geometry.size[1], width, geometry),
                ),
            )


def _axis(start: Tensor, extent: Tensor, bins: int, length: int, geometry: Geometry) -> _Axis:
    """Interpolation along one axis.

    Args:
        start: (R,) begin of the RoIs, in cells.
        extent: (R,) their length, in cells.
        bins: Bins along this axis.
        length: Cells of the map along this axis.
        geometry: Its ``sampling_ratio`` is used.
    """
    size = extent / bins  # (R,) of a bin
    if geometry.sampling_ratio > 0:
        count = torch.full_like(start, geometry.sampling_ratio)
    else:
        count = size.ceil().clamp(min=0)
    grid = torch.arange(int(count.max()), device=start.device)
    bin_start = start[:, None] + torch.arange(bins, device=start.device) * size[:, None]
    offset = (grid + 0.5) * size[:, None] / count.clamp(min=1)[:, None]
    position = bin_start[:, :, None] + offset[:, None]  # (R, b, g)
    used = (position >= -1) & (position <= length) & (grid < count[:, None])[:, None]
    position = position.clamp(0, length - 1)
    cells = torch.arange(length, device=start.device)
    weights = (1 - (position[..., None] - cells).abs()).clamp(min=0) * used[..., None]
    return _Axis(weights, count)


def _interpolate(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``Y F X^T`` of every RoI: (C, H, W), (R, p, H), (R, q, W) -> (R, C, p, q)."""
    channels, height, width = features.shape
    (rois, p, _), q = y.shape, x.shape[1]
    if height * width <= _SMALL_MAP:
        values = features.reshape(channels, -1) @ _both_axes(y, x).mT  # (C, R * p * q)
        return values.view(channels, rois, p, q).transpose(0, 1)
    features = features.permute(1, 2, 0).reshape(height, width * channels)
    rows = (y.reshape(rois * p, height) @ features).view(rois, p, width, channels)
    return (x[:, None] @ rows).permute(0, 3, 1, 2)


def _interpolate_back(grad: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Sum over the RoIs of ``Y^T G X``: (R, C, p, q), (R, p, H), (R, q, W) -> (C, H, W)."""
    rois, channels, p, _ = grad.shape
    height, width = y.shape[2], x.shape[2]
    if height * width <= _SMALL_MAP:
        total = grad.transpose(0, 1).reshape(channels, -1) @ _both_axes(y, x)  # (C, H * W)
        return total.view(channels, height, width)
    rows = (x.mT[:, None] @ grad.permute(0, 2, 3, 1)).reshape(rois * p, width * channels)
    total = y.reshape(rois * p, height).mT @ rows
    return total.view(height, width, channels).permute(2, 0, 1)


def _both_axes(y: Tensor, x: Tensor) -> Tensor:
    """Weights of all cells for every bin: (R, p, H), (R, q, W) -> (R * p * q, H * W)."""
    weights = y[:, :, None, :, None] * x[:, None, :, None, :]  # (R, p, q, H, W)
    return weights.reshape(-1, y.shape[2] * x.shape[2])
