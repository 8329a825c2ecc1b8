r"""Times the choices that make training fast against their plain alternatives, as ratios.

    python tools/analysis_tools/benchmark_training.py [--full-size] [--rounds 5]

- joint: source and target as one batch through the backbones, against two batches;
- TF2 in two dimensions: the centre slice of the kernels over the length-1 time axis, against the
  three-dimensional convolutions;
- bfloat16: autocast against float32.

The two sides of a row take turns, so changes in the machine's speed affect both. Times are medians
of forward and backward.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from mmstal_da.models.backbones.inception_i3d import InceptionI3D, endpoint_channels
from mmstal_da.models.roi_heads.inception_roi_stage import InceptionRoIStage


def timed(function: Callable[[], torch.Tensor]) -> float:
    """Seconds of a forward and backward pass."""
    start = time.perf_counter()
    function().float().mean().backward()
    return time.perf_counter() - start


def compare(ours: Callable, plain: Callable, rounds: int) -> tuple[float, float]:
    """Median seconds of two functions that take turns, after a warm-up of each."""
    timed(ours), timed(plain)
    pairs = [(timed(ours), timed(plain)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--full-size', action='store_true', help='the paper: 20 x 224 x 224')
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    width, shape = (1.0, (20, 224, 224)) if args.full_size else (0.5, (16, 112, 112))
    net = InceptionI3D(width=width).train()
    stage = InceptionRoIStage(width=width).train()
    source, target = torch.rand(2, 1, 3, *shape).unbind()
    rois = torch.rand(64, endpoint_channels('Mixed_4f', width), 7, 7)

    def bfloat16() -> torch.Tensor:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            return net(source)

    rows = {
        'joint source+target batch': (
            lambda: net(torch.cat([source, target])),
            lambda: net(source).mean() + net(target).mean(),
        ),
        'TF2 in two dimensions': (
            lambda: stage(rois),
            lambda: stage.run_endpoints(rois.unsqueeze(2)),
        ),
        'bfloat16 autocast': (bfloat16, lambda: net(source)),
    }
    table = Table(title=f'I3D width {width}, clips {shape}, {torch.get_num_threads()} threads')
    for column in ('', 'ours, s', 'plain, s', 'ratio'):
        table.add_column(column, justify='left' if not column else 'right')
    for name, (ours, plain) in rows.items():
        a, b = compare(ours, plain, args.rounds)
        table.add_row(name, f'{a:.3f}', f'{b:.3f}', f'{b / a:.2f}')
    Console(width=90).print(table)


if __name__ == '__main__':
    main()
