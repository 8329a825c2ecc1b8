"""Workarounds for upstream libraries, applied once on import.

``mmstal_da.registry`` imports this module before MMAction2 and MMDetection. Every workaround names
its upstream issue and the condition under which it can be removed. Where possible it checks that
condition itself and changes nothing if upstream is fixed. Applying the workarounds twice is
harmless.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import pickle
import pkgutil
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsInt

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule, initialize

from mmstal_da.ops import provide_ops

_DRN_PACKAGE = 'mmaction.models.localizers.drn'


def provide_drn() -> bool:
    """Replace the package ``mmaction.models.localizers.drn`` if the wheel lacks it.

    The wheels of MMAction2 1.2.0 lack that package, but ``mmaction.models`` imports ``DRN`` from
    it. So none of its models can be imported
    (https://github.com/open-mmlab/mmaction2/issues/2714). The stand-in registers a ``DRN`` that
    raises when it is built.

    Can go when: setup.cfg requires a release of MMAction2 whose wheel holds the package.

    Returns:
        Whether the stand-in was needed and is in place.
    """
    inner = f'{_DRN_PACKAGE}.drn'
    if inner in sys.modules:
        return getattr(sys.modules[inner], 'is_stand_in', False)
    mmaction = importlib.util.find_spec('mmaction')  # finds the folder, imports nothing
    if mmaction is None or not mmaction.submodule_search_locations:
        return False
    for folder in mmaction.submodule_search_locations:
        if (Path(folder) / 'models' / 'localizers' / 'drn' / 'drn.py').is_file():
            return False
    package, module = _empty_module(_DRN_PACKAGE), _empty_module(inner)
    vars(package).update(__path__=[], drn=module)
    # Called for `from .drn.drn import DRN`, when mmaction.registry is there to register it.
    vars(module).update(__getattr__=lambda name: _make_drn(module, name), is_stand_in=True)
    sys.modules.update({_DRN_PACKAGE: package, inner: module})
    return True


def _empty_module(name: str) -> types.ModuleType:
    """A module of that name without source."""
    return importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader=None))


def _make_drn(module: types.ModuleType, name: str) -> type:
    """The module's ``__getattr__``: makes and registers ``DRN`` when it is first requested."""
    if name != 'DRN':
        raise AttributeError(f'module {module.__name__!r} (a stand-in) has no attribute {name!r}')
    from mmaction.registry import MODELS

    class DRN:
        """Replaces the localizer that the wheel of MMAction2 lacks."""

        def __init__(self, *args, **kwargs):
            raise ImportError(
                "MMAction2's wheel lacks mmaction/models/localizers/drn, so DRN cannot be built "
                '(https://github.com/open-mmlab/mmaction2/issues/2714). Install MMAction2 from '
                'its source repository to use it.'
            )

    DRN.__module__ = module.__name__
    MODELS.register_module(name='DRN', module=DRN, force=True)
    vars(module)['DRN'] = DRN
    return DRN


def trust_checkpoint_globals() -> None:
    """Let ``torch.load(weights_only=True)`` read what MMEngine saves to resume from.

    Since torch 2.6 ``torch.load`` refuses every global that is not on its list. A resumable
    checkpoint of MMEngine holds the log history (``HistoryBuffer`` over NumPy arrays) and the best
    score (a NumPy scalar). Neither is on the list
    (https://github.com/open-mmlab/mmengine/issues/1655; the open upstream change
    https://github.com/open-mmlab/mmengine/pull/1650 would switch the check off). Only these globals
    are added to the list; the check itself stays on.

    Can go when: setup.cfg requires a release of MMEngine that resumes under torch >= 2.6 by itself.
    """
    if torch.__version__ < '2.6':  # a TorchVersion, which compares as a version
        return  # torch.load trusts the file
    rebuild_array = np.zeros(1).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    trusted = [HistoryBuffer, np.ndarray, np.dtype]
    # a HistoryBuffer names its statistics as getattr(HistoryBuffer, 'mean')
    trusted += [(_statistic, f'{builtins}.getattr') for builtins in ('builtins', '__builtin__')]
    # the classes of plain numbers: bool, integers and floats of every width
    trusted += [type(np.dtype(code)) for code in '?bBhHiIlLqQefdg']
    # NumPy 2 renamed the module that rebuilds; a checkpoint may come from either side
    for core in ('numpy.core', 'numpy._core'):
        trusted += [
            (rebuild_array, f'{core}.multiarray._reconstruct'),
            (rebuild_scalar, f'{core}.multiarray.scalar'),
        ]
    torch.serialization.add_safe_globals(trusted)


def _statistic(owner: object, name: str) -> Callable:
    """Replaces ``getattr`` in a checkpoint; gives only the statistics of a ``HistoryBuffer``.

    Raises:
        UnpicklingError: The checkpoint asks for anything else.
    """
    methods = HistoryBuffer()._statistics_methods  # constructing one fills the class's table
    if owner is not HistoryBuffer or name not in methods:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for getattr({owner!r}, {name!r}), which is not a statistic of '
            "MMEngine's HistoryBuffer; it was not saved by MMEngine and is not loaded"
        )
    return methods[name]


def pad_short_clips_explicitly() -> None:
    """Keep bfloat16 training of 3D convolutions on CPUs correct for short clips.

    oneDNN's kernel ``jit_bf16:avx512_core_bf16`` writes past its memory in the backward pass of a
    3D convolution with implicit padding whose kernel is longer than its input (kernel 3 on 2
    frames, kernel 5 on 2-4). Weight gradients of 1e30 and sometimes a crash follow. Seen with torch
    2.13 (oneDNN 3.12) on a CPU with AVX512_BF16 and without AMX; no upstream issue known. For such
    an input, in bfloat16 on a CPU, ``conv3d`` pads the frames explicitly before it calls oneDNN.
    The result is otherwise the same.

    Can go when: ``tests/test_compat.py::test_bfloat16_gradients_of_short_clips`` passes without it
    on such a CPU.
    """
    if not hasattr(torch.nn.functional.conv3d, '__wrapped__'):  # Conv3d calls it too
        torch.nn.functional.conv3d = _with_explicit_padding(torch.nn.functional.conv3d)


def _with_explicit_padding(conv3d: Callable) -> Callable:
    """``conv3d`` that pads the frames of ``(..., T, H, W)`` itself where oneDNN must not."""

    @functools.wraps(conv3d)
    def wrapper(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        if (
            input.device.type == 'cpu'
            and input.shape[-3] < weight.shape[-3]
            and not isinstance(padding, str)
            and (input.dtype == torch.bfloat16 or torch.is_autocast_enabled('cpu'))
        ):
            frames, height, width = (padding,) * 3 if isinstance(padding, int) else padding
            input = torch.nn.functional.pad(input, (0, 0, 0, 0, frames, frames))
            padding = (0, height, width)
        return conv3d(input, weight, bias, stride, padding, dilation, groups)

    return wrapper


def accept_bfloat16_scores() -> None:
    """Let MMAction2's classification heads compute losses of bfloat16 scores.

    Their losses pass the scores to NumPy for the accuracy in the log, and NumPy has no bfloat16:
    "Got unsupported ScalarType BFloat16" (seen in MMAction2 1.2.0, no upstream issue known). Here
    the losses get the scores as float32, in which they compute under autocast anyway. The tools
    apply this only if a config computes in bfloat16, because it imports all of MMAction2's models.

    Can go when: ``mmaction.models.heads`` has no more ``cls_scores.detach().cpu().numpy()``.
    """
    from mmaction.models.heads import BaseHead, OmniHead, RGBPoseHead

    for head, name in (
        (BaseHead, 'loss_by_feat'),
        (OmniHead, 'loss_by_feat'),
        (RGBPoseHead, 'loss_by_scores'),
    ):
        method = vars(head)[name]
        if not hasattr(method, '__wrapped__'):
            setattr(head, name, _with_float_scores(method))
    pool_bfloat16_maps()


def _with_float_scores(method: Callable) -> Callable:
    """A head's method that takes the scores first, called with them as float32."""

    @functools.wraps(method)
    def wrapper(self, cls_scores: torch.Tensor, *args, **kwargs) -> dict:
        return method(self, cls_scores.float(), *args, **kwargs)

    return wrapper


def pool_bfloat16_maps() -> None:
    """Let MMAction2's 3D RoI extractor pool feature maps in bfloat16, as float32.

    MMCV's compiled RoIAlign has no bfloat16 kernel: "ROIAlign_forward" not implemented for
    'BFloat16' (seen in MMCV 2.1.0 on a CPU, no upstream issue known; for GPUs its source also lists
    only float32, float64 and float16). Applied together with :func:`accept_bfloat16_scores`.

    Can go when: compiled ``mmcv.ops.roi_align`` takes bfloat16.
    """
    from mmaction.models.roi_heads import SingleRoIExtractor3D

    forward = SingleRoIExtractor3D.forward
    if not hasattr(forward, '__wrapped__'):
        SingleRoIExtractor3D.forward = _with_float_maps(forward)


def _with_float_maps(forward: Callable) -> Callable:
    """A RoI extractor's ``forward(feat, rois)``, called with both as float32."""

    @functools.wraps(forward)
    def wrapper(self, feat: torch.Tensor | tuple, rois: torch.Tensor) -> tuple:
        maps = tuple(level.float() for level in (feat if isinstance(feat, tuple) else (feat,)))
        return forward(self, maps, rois.float())

    return wrapper


def load_pretrained(module: torch.nn.Module) -> None:
    """Load the pretrained weights that a module's ``init_cfg`` names, if its class ignores them.

    MMAction2's 3D ResNets, SlowFast, X3D and others override ``init_weights`` without reading
    ``init_cfg`` (seen in MMAction2 1.2.0, no upstream issue known). So a config's weights would
    not be loaded, without a word. To be called after ``init_weights``.

    Can go when: ``mmaction.models.backbones.ResNet3d.init_weights`` calls that of ``BaseModule``.
    """
    if not isinstance(module, BaseModule) or not module.init_cfg:
        return
    if type(module).init_weights is BaseModule.init_weights:
        return
    configs = module.init_cfg if isinstance(module.init_cfg, list) else [module.init_cfg]
    for config in configs:
        if str(config['type']).rpartition('.')[2] in ('Pretrained', 'StrictPretrained'):
            initialize(module, dict(config))


# names that NumPy removed -> what they meant; 2.0: NAN, Inf; 2.4: trapz, in1d
_NUMPY_NAMES = {
    'NAN': lambda: np.nan,
    'Inf': lambda: np.inf,
    'trapz': lambda: np.trapezoid,
    'in1d': lambda: _in1d,
}
_USE_NUMPY_NAMES = (
    'mmaction.datasets.transforms.pose_transforms',
    'mmaction.evaluation.functional.accuracy',
    'mmaction.evaluation.functional.ava_evaluation.metrics',
    'mmaction.evaluation.metrics.multimodal_metric',
    'mmaction.utils.misc',
)
_MULTISPORTS = 'mmaction.evaluation.functional.multisports_utils'


def restore_numpy_names() -> None:
    """Give MMAction2's modules the names of NumPy that newer releases removed.

    On NumPy >= 2, AVA validation of MMAction2 1.2.0 fails after its first epoch if a class has no
    ground truth (``np.NAN``; no upstream issue known). Other modules use ``np.Inf``, ``np.trapz``
    and ``np.in1d``. Only these modules get a NumPy with the names.

    Can go when: none of ``_USE_NUMPY_NAMES`` contains such a name.
    """
    missing = [name for name in _NUMPY_NAMES if not hasattr(np, name)]
    if missing:
        for module in _USE_NUMPY_NAMES:
            _after_import(module, functools.partial(_use_old_numpy, names=missing))


def _use_old_numpy(module: types.ModuleType, names: list[str]) -> None:
    """Replace the module's ``np`` by a NumPy that also has the names."""
    numpy = types.ModuleType('numpy')
    vars(numpy).update(__getattr__=lambda name: getattr(np, name))
    for name in names:
        setattr(numpy, name, _NUMPY_NAMES[name]())
    vars(module)['np'] = numpy


def _in1d(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether each of the flattened values is among others."""
    return np.isin(values, among).ravel()


def accept_arrays_of_one() -> None:
    """Let MMAction2's MultiSports metric turn arrays of one element into integers.

    ``int(np.where(...)[0])`` raises TypeError since NumPy 2.4 (seen in MMAction2 1.2.0, no
    upstream issue known). The module gets its own ``int``.

    Can go when: ``multisports_utils.iou3dt_voc`` has no more ``int(np.where``.
    """

    def int_of_one(value: str | SupportsInt = 0) -> int:
        return int(value.item() if isinstance(value, np.ndarray) else value)

    _after_import(_MULTISPORTS, lambda module: setattr(module, 'int', int_of_one))


def find_loader_on_new_python() -> None:
    """Add ``find_loader`` to ``pkgutil`` again; Python 3.14 removed it and MMEngine calls it.

    MMEngine 0.10.7 and MMCV 2.1 use it to find out whether mmcv has compiled operators (no upstream
    issue known).

    Can go when: ``mmengine.utils.dl_utils.misc`` and ``mmcv.utils.ext_loader`` do without.
    """
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = _find_loader


def _find_loader(fullname: str) -> importlib.abc.Loader | None:
    """The loader of a module, or None."""
    spec = importlib.util.find_spec(fullname)
    return None if spec is None else spec.loader


def show_as_show_frames() -> None:
    """Let MMAction2's ``VisualizationHook`` call its visualizer.

    The hook of MMAction2 1.2.0 passes ``show``, which ``ActionVisualizer.add_datasample`` calls
    ``show_frames``, so that every picture is a ``TypeError``.

    Can go when: setup.cfg requires a release of MMAction2 whose hook passes ``show_frames``.
    """
    _after_import('mmaction.engine.hooks.visualization_hook', _mend_visualization_hook)


def _mend_visualization_hook(module: types.ModuleType) -> None:
    hook = module.VisualizationHook
    original = hook.__init__

    @functools.wraps(original)
    def initialise(self, *args, **kwargs) -> None:
        original(self, *args, **kwargs)
        if 'show' in self.draw_args:
            self.draw_args['show_frames'] = self.draw_args.pop('show')

    hook.__init__ = initialise


class _AfterImport(importlib.abc.MetaPathFinder):
    """Patches modules when they are imported, so that nothing is imported only to be patched."""

    def __init__(self) -> None:
        self.mends: dict[str, list[Callable]] = {}

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec from the other finders; the patches run after the module's execution."""
        if name not in self.mends:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute, mends = spec.loader.exec_module, self.mends.pop(name)

            def exec_module(module: types.ModuleType) -> None:
                execute(module)
                for mend in mends:
                    mend(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _after_import(name: str, mend: Callable[[types.ModuleType], None]) -> None:
    """Call ``mend(module)`` when the module is imported, or now if it already was."""
    if name in sys.modules:
        mend(sys.modules[name])
        return
    finder = next((f for f in sys.meta_path if isinstance(f, _AfterImport)), None)
    if finder is None:
        finder = _AfterImport()
        sys.meta_path.insert(0, finder)
    finder.mends.setdefault(name, []).append(mend)


def apply() -> None:
    """Apply the workarounds that import nothing of MMAction2's models. Called on import."""
    find_loader_on_new_python()
    provide_ops()
    provide_drn()
    trust_checkpoint_globals()
    pad_short_clips_explicitly()
    restore_numpy_names()
    accept_arrays_of_one()
    show_as_show_frames()


apply()
