r"""Makes weights of the package from a checkpoint: half precision, with a checksum.

    python tools/publish_weights.py work_dirs/pretrain/iter_1500.pth narrow_detector \
        --keep backbone. clip_backbone. roi_head.shared_head.

A config loads them as ``mmstal_da://narrow_detector``. Without --keep all weights are kept, so that
``tools/infer.py mmstal_da://NAME`` runs them.
"""

import argparse
import sys

import mmstal_da.registry  # noqa: F401  (first: repairs what importing mmdet needs)
from mmstal_da.errors import UsageError
from mmstal_da.pretrained.packaged import PREFIX, publish_weights


def main(argv: list[str] | None = None) -> int:
    """Publish; complaints go to stderr with exit code 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of tools/train.py')
    parser.add_argument('name', help='of mmstal_da://NAME')
    parser.add_argument('--keep', nargs='+', default=[''], metavar='PREFIX',
                        help='keep only keys that begin with one of these')  # fmt: skip
    args = parser.parse_args(argv)
    try:
        path = publish_weights(args.checkpoint, args.name, args.keep)
    except (UsageError, OSError) as error:
        print(f'publish_weights.py: {error}', file=sys.stderr)
        return 2
    print(f'{PREFIX}{args.name}: {path}, {path.stat().st_size / 2**20:.2f} MiB')
    return 0


if __name__ == '__main__':
    sys.exit(main())
