r"""Writes a trained detector as an ONNX file: clip and key frame in, boxes and scores out.

    python tools/export_onnx.py work_dirs/full/iter_300.pth --out detector.onnx
    python tools/infer.py detector.onnx my_videos/ --out work_dirs/found

The file holds the whole detector in float32, with ONNX's own operators (opset 16): both networks,
RPN, NMS, RoIAlign, RoI head, box decoding and NMS of each class. With statistics per domain it uses
those that the checkpoint uses. Class names and preprocessing are in its metadata.

Inputs, of a batch of any number of clips of any height and width:

- clip (N, 3, T, H, W) and key_frame (N, 3, H, W), float32, normalised; T is the config's;
- img_shape (N, 2), float32: height and width of the image; what lies beyond is zero;
- scale_factor (N, 2), float32: pixels of the image by those of the original video, x and y;
- score_thr (1,), float32: may be left out, the config's test_cfg.rcnn.score_thr takes its place.

Outputs, for all detections, clip by clip, best first: boxes (D, 4) x1 y1 x2 y2 in pixels of the
original video, scores (D,), labels (D,) from 0, clip_index (D,): the clip's place in the
batch.
"""

import argparse
import sys
from pathlib import Path

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmaction needs)
from mmstal_da.apis.onnx_export import export_onnx
from mmstal_da.errors import ConfigError, UsageError


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of tools/train.py, a file or a URL')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='….onnx')
    parser.add_argument('--config', help='in place of the one that the checkpoint carries')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Export; the exit status is 2 for wrong usage or a file that cannot be written."""
    args = parse_args(argv)
    try:
        found = export_onnx(args.checkpoint, args.out, args.config)
    except (UsageError, ConfigError, OSError) as error:
        print(f'export_onnx.py: {error}', file=sys.stderr)
        return 2
    print(
        f'{args.out}: {args.out.stat().st_size / 1e6:.1f} MB. On random clips ONNX Runtime finds'
        f' {found.close} of {found.detections} detections of torch, with differences up to'
        f' {found.boxes:.1g} px and {found.scores:.1g} in the score.'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
