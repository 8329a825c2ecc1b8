"""RoIAlign and NMS for mmcv without compiled operators.

Of mmcv's 77 compiled operators, two-stage detectors need these two. If ``mmcv._ext`` is missing,
:func:`provide_ops` replaces it by a Python module. So ``mmcv-lite``, which needs no compiler, is
enough. Compiled mmcv is used unchanged.
"""

import importlib
import importlib.util
import sys
from importlib import metadata

COMPILED = "mmcv's compiled operators"
MMCV = '2.1.0'
LINE = f'pip install mmcv-lite=={MMCV}'


def provide_ops() -> None:
    """Make ``mmcv.ops`` importable. Call it before anything imports MMDetection or MMAction2.

    Raises:
        ImportError: mmcv is missing, installed twice, of a version that MMDetection and MMAction2
            refuse, or compiled for another torch. The message gives the command to type.
    """
    if 'mmcv._ext' in sys.modules:
        return
    check_mmcv(installed_mmcv())
    if importlib.util.find_spec('mmcv._ext') is None:
        from .extension import OperatorModule

        sys.modules['mmcv._ext'] = OperatorModule(torchvision=torchvision_has_ops())
        return
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        raise ImportError(
            'the compiled operators of mmcv cannot be loaded; most likely they were compiled for '
            f'another torch ({error}). Use mmcv without them: pip uninstall -y mmcv && {LINE}'
        ) from error


def installed_mmcv() -> dict[str, str]:
    """Which of ``mmcv`` and ``mmcv-lite`` are installed, with their versions."""
    versions = {}
    for name in ('mmcv', 'mmcv-lite'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if not versions and importlib.util.find_spec('mmcv') is not None:
        import mmcv  # on the path without being installed

        versions['mmcv'] = mmcv.__version__
    return versions


def check_mmcv(versions: dict[str, str]) -> None:
    """Refuse versions that cannot work.

    Args:
        versions: Result of :func:`installed_mmcv`.

    Raises:
        ImportError: None is installed, or both, or a version other than 2.1.
    """
    if not versions:
        raise ImportError(
            f'mmstal_da needs mmcv, which is not installed: {LINE} (or pip install '
            "'mmstal_da[lite]'); it needs no compiler"
        )
    if len(versions) > 1:
        raise ImportError(
            f'mmcv {versions["mmcv"]} and mmcv-lite {versions["mmcv-lite"]} are both installed, '
            'in one folder, so that each has overwritten files of the other. Keep one: '
            f'pip uninstall -y mmcv mmcv-lite && {LINE}'
        )
    ((name, version),) = versions.items()
    if version.split('.')[:2] != MMCV.split('.')[:2]:
        raise ImportError(
            f'{name} {version} is installed; MMDetection 3.3 and MMAction2 1.2 need 2.1: '
            f'pip uninstall -y {name} && {LINE}'
        )


def torchvision_has_ops() -> bool:
    """Whether torchvision imports and its operators exist for this torch."""
    if importlib.util.find_spec('torchvision') is None:
        return False
    try:
        import torch
        import torchvision  # noqa: F401  (registers the operators)

        operators = torch.ops.torchvision
        return all((operators.nms, operators.roi_align, operators._roi_align_backward))
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False  # built for another torch: "operator torchvision::nms does not exist"


def describe_ops() -> str:
    """Whose RoIAlign and NMS run: compiled mmcv's, torchvision's or this project's."""
    extension = sys.modules.get('mmcv._ext')
    if extension is None:
        return 'not loaded'
    torchvision = getattr(extension, 'torchvision', None)
    if not isinstance(torchvision, bool):
        return COMPILED
    return "torchvision's operators" if torchvision else 'own operators (torch and NumPy)'
