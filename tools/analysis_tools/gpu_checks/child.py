"""One step, in a separate process: ``python -m gpu_checks.child STEP CONTEXT``."""

import importlib
import json
import os
import sys
from pathlib import Path

# a trial on the CPU must not see a GPU; this comes before torch counts GPUs
if json.loads(sys.argv[2])['tiny']:
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import mmstal_da.registry  # noqa: F401  (and with it the workarounds that MMAction2 needs)

from .context import Context, NotPossible
from .plan import PREFIX
from .running import SKIPPED


def main() -> int:
    """Run it; returns the exit status."""
    name, context = sys.argv[1], Context.from_arguments(json.loads(sys.argv[2]))
    try:
        if name.startswith(PREFIX):
            from .foggy_rows import run

            run(name, context)
        else:
            importlib.import_module(f'.{name}', __package__).run(name, context)
    except NotPossible as reason:
        print(' '.join(str(reason).split()))
        return SKIPPED
    return 0


if __name__ == '__main__':
    os.chdir(Path(__file__).resolve().parents[3])  # configs name data/ from there
    sys.exit(main())
