r"""RoIAlign and NMS of this project beside torchvision's and compiled mmcv's.

Each installed side takes part: this project's operators always, torchvision's if its operators
exist for this torch, mmcv's if it is compiled. RoIAlign: forward and backward, sampling ratio 2, as
configured. Before the timing, every side's result is compared with the first side's.
"""

import argparse
from collections.abc import Callable

import torch

from mmstal_da import compat  # noqa: F401  (makes mmcv.ops importable)
from mmstal_da.ops import torchvision_has_ops
from mmstal_da.ops.extension import OperatorModule

from .common import make_row, take_turns, timed

REPEATS = 20
OURS = 'ours'

# name -> images, channels, height, width of the map, RoIs per image, bins
ALIGN_SIZES = {
    'quickstart, training': (4, 208, 6, 8, 16, 4),
    '112 px, training': (4, 832, 7, 10, 64, 7),
    'paper, training': (2, 832, 16, 19, 64, 7),
    'paper, test': (1, 832, 16, 19, 100, 7),
}
# name -> boxes before NMS
NMS_SIZES = {'quickstart, anchors': 576, 'paper, anchors': 2000, 'test, classes x RoIs': 2400}
# both, as often as a training step calls them: RoIAlign's size, then NMS on every image
STEPS = {
    'quickstart': ('quickstart, training', 'quickstart, anchors'),
    'paper': ('paper, training', 'paper, anchors'),
}
QUICK_ALIGN = {'tiny': (1, 8, 4, 4, 2, 2)}
QUICK_NMS = {'tiny': 64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``ops``."""
    parser.add_argument('--device', default='cpu')


def run(args: argparse.Namespace) -> list[dict]:
    """One row per operator and size."""
    there = sides()
    cases = {
        f'RoIAlign, {name}': {
            side: align_function(extension, shape, args.device) for side, extension in there.items()
        }
        for name, shape in (QUICK_ALIGN if args.quick else ALIGN_SIZES).items()
    }
    cases |= {
        f'NMS, {name}': {
            side: nms_function(extension, number, args.device) for side, extension in there.items()
        }
        for name, number in (QUICK_NMS if args.quick else NMS_SIZES).items()
    }
    for name, (align, anchors) in ({} if args.quick else STEPS).items():
        shape, number = ALIGN_SIZES[align], NMS_SIZES[anchors]
        cases[f'a training step of {name}'] = {
            side: step_function(extension, shape, number, args.device)
            for side, extension in there.items()
        }
    return [compare(name, case, args.repeats, args.device) for name, case in cases.items()]


def sides() -> dict[str, object]:
    """The installed operators."""
    found = {OURS: OperatorModule(torchvision=False)}
    if torchvision_has_ops():
        found['torchvision'] = OperatorModule(torchvision=True)
    import mmcv.utils.ext_loader

    extension = mmcv.utils.ext_loader.load_ext('_ext', ['nms'])
    if not isinstance(extension, OperatorModule):
        found['compiled mmcv'] = extension
    return found


def random_boxes(number: int, height: float, width: float, seed: int) -> torch.Tensor:
    """(number, 4) boxes of 0.1 to 0.8 of a frame, in pixels."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    extent = (0.1 + 0.7 * torch.rand(number, 2, generator=generator)) * size
    start = torch.rand(number, 2, generator=generator) * (size - extent)
    return torch.cat([start, start + extent], 1)


def align_function(extension: object, shape: tuple, device: str) -> Callable[[], tuple]:
    """Forward and backward of RoIAlign at one size."""
    images, channels, height, width, per_image, bins = shape
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, channels, height, width, generator=generator).to(device)
    boxes = [random_boxes(per_image, 16 * height, 16 * width, seed) for seed in range(images)]
    rois = torch.cat([torch.nn.functional.pad(b, (1, 0), value=i) for i, b in enumerate(boxes)])
    rois = rois.to(device)
    grad = torch.randn(len(rois), channels, bins, bins, generator=generator).to(device)
    keys = dict(
        aligned_height=bins,
        aligned_width=bins,
        spatial_scale=1 / 16,
        sampling_ratio=2,
        pool_mode=1,
        aligned=True,
    )

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        output, back = torch.zeros_like(grad), torch.zeros_like(features)
        empty = features.new_zeros(0)
        extension.roi_align_forward(features, rois, output, empty, empty, **keys)
        extension.roi_align_backward(grad, rois, empty, empty, back, **keys)
        return output, back

    return run


def nms_function(extension: object, number: int, device: str) -> Callable[[], tuple]:
    """NMS at 0.7 on boxes like those of an RPN: around a few actors."""
    generator = torch.Generator().manual_seed(number)
    actors = random_boxes(8, 256, 299, 1).repeat(-(-number // 8), 1)[:number]
    boxes = (actors + 12 * torch.randn(number, 4, generator=generator)).to(device)
    scores = torch.rand(number, generator=generator).to(device)
    return lambda: (extension.nms(boxes, scores, iou_threshold=0.7, offset=0),)


def step_function(extension: object, shape: tuple, number: int, device: str) -> Callable[[], tuple]:
    """RoIAlign of a batch, forward and backward, and NMS of each of its images."""
    align = align_function(extension, shape, device)
    suppress = nms_function(extension, number, device)

    def run() -> tuple[torch.Tensor, ...]:
        return (*align(), *(kept for _ in range(shape[0]) for kept in suppress()))

    return run


def compare(name: str, functions: dict[str, Callable], repeats: int, device: str) -> dict:
    """One row, in milliseconds.

    Raises:
        ValueError: Two sides give different results.
    """
    results = {side: function() for side, function in functions.items()}
    for side, result in results.items():
        for ours, theirs in zip(results[OURS], result, strict=True):
            if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-3):
                raise ValueError(f'{name}: {OURS} and {side} give different results')
    seconds = take_turns({s: timed(f, device) for s, f in functions.items()}, repeats)
    rounds = {side: [1000 * value for value in times] for side, times in seconds.items()}
    return make_row(name, 'ms', rounds, OURS)
