"""The module that replaces ``mmcv._ext``, mmcv's compiled operators.

Each function has the name and the arguments with which ``mmcv.ops`` 2.1 calls the compiled one.
"""

import functools
import importlib.machinery
import types
from collections.abc import Callable

import torch
from torch import Tensor

from . import nms as own_nms
from . import roi_align as own_roi_align
from .roi_align import Geometry

INSTALL_COMPILED = (
    'pip uninstall -y mmcv-lite && MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0'
)


class OperatorModule(types.ModuleType):
    """``mmcv._ext`` with NMS and RoIAlign; any other operator raises when it is called.

    ``mmcv.ops`` looks up all of its operators by name on import, so all names exist.
    """

    def __init__(self, torchvision: bool) -> None:
        super().__init__('mmcv._ext', doc=__doc__)
        # no loader: MMEngine then knows that there is no compiled SyncBatchNorm or DeformConv
        self.__spec__ = importlib.machinery.ModuleSpec('mmcv._ext', loader=None)
        self.torchvision = torchvision  # whether to use torchvision's operators where possible
        self.nms = functools.partial(nms, torchvision)
        self.softnms = softnms
        self.roi_align_forward = _in_full_precision(
            functools.partial(roi_align_forward, torchvision)
        )
        self.roi_align_backward = _in_full_precision(
            functools.partial(roi_align_backward, torchvision)
        )

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise ImportError(
                f"mmcv's operator {name!r} is compiled, and this mmcv has no compiled operators; "
                'mmstal_da replaces only NMS and RoIAlign. To get it, compile mmcv (20 '
                f'minutes, a C++ compiler): bash tools/setup_env.sh --with-mmcv-ops, or: '
                f'{INSTALL_COMPILED}'
            )

        return missing


def nms(torchvision: bool, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int):
    """(N, 4), (N,) -> (K,) int64: see :func:`mmstal_da.ops.nms.nms`."""
    if torchvision and offset == 0:
        return torch.ops.torchvision.nms(boxes.float(), scores.float(), iou_threshold)
    return own_nms.nms(boxes, scores, iou_threshold, offset)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Writes boxes and new scores into ``dets`` (N, 5) and returns the indices (K,)."""
    new, index = own_nms.soft_nms(boxes, scores, iou_threshold, sigma, min_score, method, offset)
    dets[: len(new)] = new
    return index


def roi_align_forward(
    torchvision: bool,
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes into ``output``, and with ``pool_mode`` 0 (maximum) into ``argmax_y, argmax_x``."""
    geometry = Geometry((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    if pool_mode == 0:
        results = own_roi_align.roi_align_max_forward(input, rois, geometry)
        for place, result in zip((output, argmax_y, argmax_x), results, strict=True):
            place.copy_(result)
    elif torchvision:
        output.copy_(
            torch.ops.torchvision.roi_align(
                *_same_type(input, rois),
                spatial_scale,
                aligned_height,
                aligned_width,
                sampling_ratio,
                aligned,
            )
        )
    else:
        output.copy_(own_roi_align.roi_align_forward(input, rois, geometry))


def roi_align_backward(
    torchvision: bool,
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes into ``grad_input`` (N, C, H, W)."""
    geometry = Geometry((aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned)
    shape = tuple(grad_input.shape)
    if pool_mode == 0:
        result = own_roi_align.roi_align_max_backward(
            grad_output, rois, argmax_y, argmax_x, geometry, shape
        )
    elif torchvision:
        result = torch.ops.torchvision._roi_align_backward(
            *_same_type(grad_output, rois),
            spatial_scale,
            aligned_height,
            aligned_width,
            *shape,
            sampling_ratio,
            aligned,
        )
    else:
        result = own_roi_align.roi_align_backward(grad_output, rois, geometry, shape)
    grad_input.copy_(result)


def _same_type(values: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64 if the values are, else in float32."""
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return values.to(dtype), rois.to(dtype)


def _in_full_precision(function: Callable) -> Callable:
    """The function without autocast, which would round its matrix products."""

    @functools.wraps(function)
    def wrapper(values: Tensor, *args, **kwargs) -> None:
        with torch.autocast(values.device.type, enabled=False):
            function(values, *args, **kwargs)

    return wrapper
