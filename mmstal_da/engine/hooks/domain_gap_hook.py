"""Measures the distance of the domains after every validation, with a freshly trained probe."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmstal_da.evaluation.domain_gap.features import (
    DOMAIN_NAMES,
    PLACES,
    domain_batches,
    extract,
)
from mmstal_da.evaluation.domain_gap.probe import probe_domains
from mmstal_da.registry import HOOKS
from mmstal_da.utils.values import check_values, whole
from mmstal_da.utils.wrapped import student_of

from ..monitor.measures import evaluating


@HOOKS.register_module()
class DomainGapHook(Hook):
    """Logs ``val/probe_accuracy_<place>`` and ``val/proxy_a_distance_<place>``.

    ``<place>`` is SF, TF1 or TF2. It is what ``tools/analysis_tools/domain_gap.py`` measures, see
    there and :func:`mmstal_da.evaluation.domain_gap.probe.probe_domains`. No labels are read. Off
    by default; a config switches it on with ``custom_hooks = [dict(type='DomainGapHook')]``, and
    needs scikit-learn (extra ``analysis``). It costs a forward pass of ``2 * max_videos *
    per_video`` clips. Only the first process computes.

    Args:
        max_videos: Most videos of a domain.
        per_video: Key frames of a video.
        folds: Of the cross-validation.
        source_split: Split of the source; None for the one that is trained on.
        target_split: Split of the target; None for the one that is adapted on.
        batch_size: Key frames at a time.
        workers: Processes that decode.
    """

    priority = 'NORMAL'  # before LoggerHook

    value_rules = dict(
        max_videos=whole(), per_video=whole(), folds=whole(2), batch_size=whole(), workers=whole(0)
    )

    def __init__(
        self,
        max_videos: int = 50,
        per_video: int = 2,
        folds: int = 5,
        source_split: str | None = None,
        target_split: str | None = None,
        batch_size: int = 8,
        workers: int = 0,
    ) -> None:
        check_values(self.value_rules, locals())
        self.folds = folds
        self.splits = dict(source=source_split, target=target_split)
        self.loading = (max_videos, per_video, batch_size, workers)
        self._batches: dict | None = None

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Probe the present features."""
        if not is_main_process():
            return
        if self._batches is None:
            self._batches = {
                domain: domain_batches(runner.cfg, domain, self.splits[domain], *self.loading)
                for domain in DOMAIN_NAMES
            }
        detector = student_of(runner.model)
        with evaluating(detector):
            found = extract(detector, self._batches)
        for place in PLACES:
            probe = probe_domains(found.at[place], found.domains, found.videos, self.folds)
            hub = runner.message_hub
            hub.update_scalar(f'val/probe_accuracy_{place}', probe.accuracy)
            hub.update_scalar(f'val/proxy_a_distance_{place}', probe.distance)
