r"""Compares the speed of this project's RoIAlign and NMS with compiled mmcv's or torchvision's.

    python tools/analysis_tools/benchmark_ops.py [--rounds 20] [--device cuda]

Times are given as ratios. Each installed side takes part: this project's operators always,
torchvision's if its operators exist for this torch, mmcv's if it is compiled. The sides take turns,
so changes in the machine's speed affect all. RoIAlign: forward and backward, sampling ratio 2, as
configured. Before the timing, every side's result is compared with the first side's. ``--out``
writes JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmstal_da import compat  # noqa: F401  (makes mmcv.ops importable)
from mmstal_da.experiments.record import describe_environment
from mmstal_da.ops import torchvision_has_ops
from mmstal_da.ops.extension import OperatorModule
from mmstal_da.utils.io import atomic_write

# name -> images, channels, height, width of the map, RoIs per image, bins
ALIGN_SIZES = {
    'quickstart, training': (4, 208, 6, 8, 16, 4),
    '112 px, training': (4, 832, 7, 10, 64, 7),
    'paper, training': (2, 832, 16, 19, 64, 7),
    'paper, test': (1, 832, 16, 19, 100, 7),
}
# name -> boxes before NMS
NMS_SIZES = {'quickstart, anchors': 576, 'paper, anchors': 2000, 'test, classes x RoIs': 2400}


def sides() -> dict[str, object]:
    """The installed operators."""
    found = {'ours': OperatorModule(torchvision=False)}
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


def compare(functions: dict[str, Callable], rounds: int, device: str) -> dict[str, float]:
    """Median milliseconds of each side; they take turns.

    Raises:
        SystemExit: Two sides give different results.
    """
    first, *others = ((name, function()) for name, function in functions.items())
    for name, results in others:
        for ours, theirs in zip(first[1], results, strict=True):
            if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=1e-3):
                raise SystemExit(f'{first[0]} and {name} give different results')
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            if device != 'cpu':
                torch.cuda.synchronize()
            start = time.perf_counter()
            function()
            if device != 'cpu':
                torch.cuda.synchronize()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(of) for name, of in times.items()}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    there = sides()
    cases = {
        **{
            f'RoIAlign, {name}': {
                side: align_function(extension, shape, args.device)
                for side, extension in there.items()
            }
            for name, shape in ALIGN_SIZES.items()
        },
        **{
            f'NMS, {name}': {
                side: nms_function(extension, number, args.device)
                for side, extension in there.items()
            }
            for name, number in NMS_SIZES.items()
        },
    }
    results = {name: compare(case, args.rounds, args.device) for name, case in cases.items()}
    table = Table(title=f'{args.device}, {torch.get_num_threads()} threads; median of a call')
    table.add_column('')
    for side in there:
        table.add_column(f'{side}, ms', justify='right')
        if side != 'ours':
            table.add_column('/ ours', justify='right')
    for name, times in results.items():
        cells = []
        for side, value in times.items():
            cells.append(f'{value:.2f}')
            if side != 'ours':
                cells.append(f'{value / times["ours"]:.1f}')
        table.add_row(name, *cells)
    Console(width=100).print(table)
    if args.out:
        with atomic_write(args.out) as file:
            content = {'milliseconds': results, 'environment': describe_environment()}
            json.dump(content, file, indent=1)


if __name__ == '__main__':
    main()
