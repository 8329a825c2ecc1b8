"""Report of the environment: ``python -m mmstal_da.utils.collect_env``."""

import subprocess
from importlib import metadata
from pathlib import Path

import torch
from mmengine.utils.dl_utils import collect_env as collect_basic_env

import mmstal_da
from mmstal_da import ops

# packages on which the results or the decoding depend, by the name of the distribution
PACKAGES = (
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmaction2',
    'torch',
    'torchvision',
    'numpy',
    'scipy',
    'opencv-python',
    'opencv-contrib-python',
    'opencv-python-headless',
    'opencv-contrib-python-headless',
    'av',
    'decord',
    'matplotlib',
    'onnx',
    'onnxruntime',
    'onnxruntime-gpu',
    'setuptools',
)


def collect_env(basic: bool = True) -> dict[str, str]:
    """Describe the machine and the versions of everything that this project depends on.

    Args:
        basic: Begin with MMEngine's report (platform, Python, GPUs, compilers, PyTorch).

    Returns:
        Name to description, in the order to print.
    """
    report = {}
    if basic:
        report.update({name: str(value) for name, value in collect_basic_env().items()})
    for name in PACKAGES:
        try:
            report[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            report[name] = 'not installed'
    report['RoIAlign and NMS'] = describe_ops()
    report['mmstal_da'] = f'{mmstal_da.__version__}, {git_commit()}'
    return report


def describe_ops() -> str:
    """Say whose RoIAlign and NMS run and what compiled them, or why they do not run."""
    try:
        prove_ops()
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        return f'do not run: {type(error).__name__}: {str(error).splitlines()[0]}'
    whose = ops.describe_ops()
    if whose == ops.COMPILED:
        from mmcv.ops import get_compiler_version, get_compiling_cuda_version

        whose += f' ({get_compiler_version()}, CUDA {get_compiling_cuda_version()})'
    return whose


def prove_ops() -> None:
    """Run RoIAlign and NMS on tiny tensors, on the CPU and on a GPU if there is one.

    Raises:
        ImportError: mmcv is not installed, or its operators were compiled for another torch.
        RuntimeError: The operators give wrong results, or are not compiled for the device.
    """
    ops.provide_ops()
    from mmcv.ops import nms, roi_align

    for device in ['cpu'] + ['cuda'] * torch.cuda.is_available():
        boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 3.9], [5, 5, 8, 8]], device=device)
        kept = nms(boxes, torch.tensor([0.5, 0.9, 0.1], device=device), iou_threshold=0.5)[1]
        roi = torch.tensor([[0, 0, 0, 2, 2]], dtype=torch.float, device=device)
        pooled = roi_align(torch.ones(1, 1, 4, 4, device=device), roi, (2, 2))
        if kept.tolist() != [1, 2] or not torch.equal(pooled, torch.ones_like(pooled)):
            raise RuntimeError(
                f'{ops.describe_ops()} give wrong results on {device}; replace the compiled ones: '
                f'pip uninstall -y mmcv && {ops.LINE}'
            )


def git_commit() -> str:
    """The commit of this project's checkout, and whether files differ from it."""
    folder = Path(mmstal_da.__file__).parent
    try:
        # a package copied into another project's checkout is not that project's commit
        _git(folder, 'ls-files', '--error-unmatch', 'version.py')
        commit = _git(folder, 'rev-parse', 'HEAD')
        changed = _git(folder, 'status', '--porcelain', '--untracked-files=no')
    except (OSError, subprocess.CalledProcessError):
        return 'not a git checkout'
    return f'git commit {commit}' + (' with changes' if changed else '')


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command."""
    command = ['git', '-C', str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == '__main__':
    for name, value in collect_env().items():
        print(f'{name}: {value}')
