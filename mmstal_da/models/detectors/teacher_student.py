"""A mean teacher around any detector of this project: it labels the target for its student."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from mmdet.models.detectors import BaseDetector, SemiBaseDetector
from mmdet.models.utils import rename_loss_dict, reweight_loss_dict
from torch import Tensor

from mmstal_da.domains import TARGET
from mmstal_da.errors import ConfigError
from mmstal_da.models.roi_heads import MultiLabelBBoxHead
from mmstal_da.registry import MODELS
from mmstal_da.utils.values import check_values, choice
from mmstal_da.utils.wrapped import PREDICTORS

from .action_tube import ActionTubeDetector
from .given_boxes import classified
from .pseudo_thresholds import AdaptiveThresholds, PseudoThresholds
from .target_losses import (
    PseudoLabels,
    as_target,
    blank,
    hard_losses,
    soft_losses,
    with_labels,
)
from .target_views import masked, mixed
from .teacher_settings import TeacherSettings
from .tube_memory import TubeMemory

WEAK = 'weak_'


@MODELS.register_module()
class TeacherStudentDetector(SemiBaseDetector):
    """A student that learns on the source's labels and on its teacher's boxes of the target.

    The teacher is the moving average of the student (Tarvainen and Valpola, NeurIPS 2017; for
    detectors Liu et al., ICLR 2021), weights and statistics alike. It sees the weak view of the
    target's clips and the student their strong view. Both have the same geometry. In a config::

        model = dict(_delete_=True, type='TeacherStudentDetector', detector=_base_.model)
        custom_hooks = [dict(type='BurnInTeacherHook')]

    A step computes

    1. the wrapped detector's own losses, as without teacher, on the strong view;
    2. the teacher's boxes on the weak view of the target, see :meth:`pseudo_labels`;
    3. RPN and RoI losses of the student on the strong view against these boxes, with the target's
       statistics where the detector keeps statistics per domain. They are logged as
       ``target_loss_cls`` and so on. As in mmdet, they count nothing in a batch in which no box is
       sure; with ``tubes`` such a batch is background. Ordinary batch norm that is not frozen
       counts the target's batch in its one set of running statistics, as in mmdet.

    With ``weight=0``, and in the burn-in, only 1. is computed: the step is that of the detector
    alone, to the last bit. No label of the target is read.

    Where which part is used: the student is trained; the teacher labels. At validation, test, in
    ``tools/infer.py`` and in exports ``test_cfg.predict_on`` predicts, by default the teacher. In
    the burn-in the teacher is a copy of the student. Hooks of the adaptation (lambda, monitor,
    domain gap) see the student.

    mmdet's part is kept but for this: the teacher is built without random draws and initialised
    from the student, so that a student begins as the detector alone would; the teacher stays in
    eval mode; losses come from one joint batch instead of several branches; and views differ in
    colour alone, so boxes need no projection.

    Args:
        detector: Config of the detector.
        teacher: Values of :class:`TeacherSettings`.
        test_cfg: ``predict_on`` is ``'teacher'`` or ``'student'``.
        data_preprocessor: None takes the detector's.
        init_cfg: MMEngine initialisation.

    Raises:
        ConfigError: A value is wrong, or the detector is of another kind.
    """

    def __init__(
        self,
        detector: dict,
        teacher: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        data_preprocessor = data_preprocessor or detector.get('data_preprocessor')
        BaseDetector.__init__(self, data_preprocessor, init_cfg)
        self.settings = TeacherSettings(**(teacher or {}))
        part = _predicting_part(test_cfg or {})
        self.semi_test_cfg = dict(predict_on=part, forward_on=part, extract_feat_on=part)
        self.student = MODELS.build(detector)
        _check_detector(self.student)
        with _draws_kept():
            self.teacher = MODELS.build(detector)
        self.freeze(self.teacher)
        self.copy_student()
        self._check_source_free()
        self.thresholds = self._build_thresholds()
        # of the training, 0-based; BurnInTeacherHook sets it
        self.iteration: int | None = None
        # TubeMemoryHook sets it
        self.memory: TubeMemory | None = None

    def _build_thresholds(self) -> PseudoThresholds:
        low, high = self.settings.thresholds
        classes = self.student.roi_head.bbox_head.num_classes
        if self.settings.adaptive is None:
            return PseudoThresholds(low, high, classes)
        return AdaptiveThresholds(low, high, classes, self.settings.adaptive)

    def _check_source_free(self) -> None:
        """See that nothing compares the domains where there is one alone.

        Raises:
            ConfigError: The detector has discriminators.
        """
        if self.settings.source_free and getattr(self.student, 'adaptation', None) is not None:
            raise ConfigError(
                'model.teacher.source_free: discriminators need source and target; set'
                ' model.detector.adaptation=None'
            )

    def init_weights(self) -> None:
        """Initialise the student, and copy it."""
        self.student.init_weights()
        self.copy_student()

    def copy_student(self) -> None:
        """Make the teacher equal to the student, weights and statistics."""
        self.teacher.load_state_dict(self.student.state_dict())

    def train(self, mode: bool = True) -> 'TeacherStudentDetector':
        """As :meth:`torch.nn.Module.train`; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def predictor(self) -> ActionTubeDetector:
        """The part that predicts at validation and test."""
        return getattr(self, self.semi_test_cfg['predict_on'])

    def loss(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> dict:
        """The detector's losses, and those on the target.

        Args:
            batch_inputs: ``clip`` and ``key_frame`` as :meth:`ActionTubeDetector.extract_feat`,
                and the target's ``weak_clip`` and ``weak_key_frame``.
            batch_data_samples: N samples, the source's first.

        Returns:
            The detector's losses. After the burn-in also ``target_loss_rpn_cls``,
            ``target_loss_rpn_bbox``, ``target_loss_cls``, ``target_loss_bbox``, ``target_acc`` and
            ``target_boxes``, the number of labels per clip.

        Raises:
            ConfigError: The hook is missing, or the batch has no target or no weak views.
        """
        inputs = {k: v for k, v in batch_inputs.items() if not k.startswith(WEAK)}
        weak = {k.removeprefix(WEAK): batch_inputs[k] for k in batch_inputs.keys() - inputs.keys()}
        if self.iteration is None:
            raise ConfigError(
                'TeacherStudentDetector needs its hook, or its teacher never changes:'
                " custom_hooks = [dict(type='BurnInTeacherHook')]"
            )
        weight = self.settings.weight_at(self.iteration)
        with self.student.layout.one_step() if weight else nullcontext():
            alone = self.settings.source_free and weight
            losses = {} if alone else self.student.loss(inputs, batch_data_samples)
            if weight:
                losses.update(self._on_target(inputs, weak, batch_data_samples, weight))
        return losses

    def _on_target(
        self, inputs: dict[str, Tensor], weak: dict[str, Tensor], samples: list, weight: float
    ) -> dict:
        """Losses of the student on the target's strong view, named and weighted."""
        targets = [s for s in samples if s.metainfo.get('domain') == TARGET]
        if not targets:
            raise ConfigError(
                'a teacher needs target clips: train on a DualDomainDataset with'
                " train_on='both', or set model.teacher.weight=0"
            )
        if not weak and not self.settings.tubes:
            raise ConfigError(
                'a teacher needs the weak view of the target: put KeepWeakView before AugmentClip'
                ' into the train pipeline of the target'
            )
        n_source = len(samples) - len(targets)
        if self.settings.source_free and n_source and not self.settings.burn_in:
            raise ConfigError(
                "model.teacher.source_free: the batch has a source; set train_on='target' in"
                ' train_dataloader.dataset, or a burn_in that learns it'
            )
        strong = {key: value[n_source:] for key, value in inputs.items()}
        labels = self.pseudo_labels(weak, targets)
        targets = [blank(sample) for sample in targets]
        count = sum(len(boxes) for boxes, _ in labels)
        if self.settings.mix:
            source = {key: value[:n_source] for key, value in inputs.items()}
            strong, labels = mixed(
                strong, targets, labels, source, samples[:n_source], self.settings.mix
            )
        if self.settings.mask:
            strong = masked(strong, self.settings.mask, self.settings.mask_block)
        labelled = with_labels(targets, labels)
        if self.settings.soft:
            losses = soft_losses(self.student, self.teacher, strong, weak, labelled)
        else:
            losses = hard_losses(self.student, strong, labelled)
            sure = any(len(boxes) for boxes, _ in labels)
            if not sure and not self.settings.tubes:
                weight = 0.0
        losses = reweight_loss_dict(losses, weight)
        if getattr(self.student, 'domain_norm', None) is not None:
            self.student.domain_norm.synchronise()
        boxes = torch.tensor(count / len(targets), device=strong['clip'].device)
        return rename_loss_dict('target_', dict(losses, boxes=boxes))

    @torch.no_grad()
    def pseudo_labels(self, inputs: dict[str, Tensor], samples: list) -> PseudoLabels:
        """Labels of target clips: the teacher's boxes on their weak view, or remembered tubes.

        A subclass may take them from elsewhere.

        Args:
            inputs: ``clip`` (N, 3, T, H, W) and ``key_frame`` (N, 3, H, W) of the weak view.
            samples: N samples with metainfo, and with ``proposals`` if boxes are given.

        Returns:
            Per clip the boxes to learn, ``bboxes`` (n, 4) in input pixels and ``labels`` (n,), and
            the boxes to leave out, which are neither learnt nor background.
        """
        if self.settings.tubes:
            return self._remembered(inputs, samples)
        if self.settings.given_boxes:
            predictions = classified(self.teacher, inputs, samples)
        else:
            with as_target(self.teacher):
                found = self.teacher.predict(inputs, [blank(s) for s in samples], rescale=False)
            predictions = [sample.pred_instances for sample in found]
        self.thresholds.update(predictions)
        return self.thresholds.split(predictions)

    def _remembered(self, inputs: dict[str, Tensor], samples: list) -> PseudoLabels:
        """The tubes of the memory on these clips.

        Raises:
            ConfigError: The hook is missing.
        """
        if self.memory is None:
            raise ConfigError(
                'model.teacher.tubes=True needs the hook that finds the tubes: add'
                " dict(type='TubeMemoryHook') to custom_hooks"
            )
        device = next(self.parameters()).device
        found = [self.memory.labels_of(sample) for sample in samples]
        return [(learnt.to(device), ignored.to(device)) for learnt, ignored in found]

    def predict(
        self, batch_inputs: dict[str, Tensor], batch_data_samples: list, rescale: bool = True
    ) -> list:
        """Detect actions with the part that ``test_cfg.predict_on`` names."""
        return self.predictor.predict(batch_inputs, batch_data_samples, rescale=rescale)


def _predicting_part(test_cfg: dict) -> str:
    """The value of ``test_cfg.predict_on``.

    Raises:
        ConfigError: It is wrong, or there are other keys.
    """
    others = sorted(test_cfg.keys() - {'predict_on'})
    if others:
        raise ConfigError(
            f'model.test_cfg of a TeacherStudentDetector has the key predict_on alone; set {others}'
            ' in model.detector.test_cfg'
        )
    try:
        check_values(dict(predict_on=choice(*PREDICTORS)), test_cfg, 'model.test_cfg.')
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return test_cfg.get('predict_on', PREDICTORS[0])


def _check_detector(detector: object) -> None:
    """See that a teacher can label for it.

    Raises:
        ConfigError: It is no detector of this project, or has several classes per box.
    """
    if not isinstance(detector, ActionTubeDetector):
        raise ConfigError(
            f'model.detector is a {type(detector).__name__}; a teacher needs an'
            ' ActionTubeDetector or DomainAdaptiveDetector'
        )
    if isinstance(detector.roi_head.bbox_head, MultiLabelBBoxHead):
        raise ConfigError(
            'model.detector.roi_head.bbox_head: a teacher labels one class per box, which'
            ' MultiLabelBBoxHead does not learn; use mmdet.BBoxHead'
        )


@contextmanager
def _draws_kept() -> Iterator[None]:
    """Leave torch's random numbers as they were, so that a student draws as a detector alone."""
    with torch.random.fork_rng(devices=[]):
        yield
