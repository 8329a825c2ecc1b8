"""What a training step computed, for losses of one's own."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Step:
    """Features, proposals and losses of one batch; see :meth:`ActionTubeDetector.further_losses`.

    Attributes:
        inputs: ``clip`` ``(N, 3, T, H, W)`` and ``key_frame`` ``(N, 3, H, W)``, normalised.
        samples: N samples, the source's first; without adaptation the source's alone. Only the
            source's ``gt_instances`` may be read.
        num_source: How many of them are the source's.
        spatial: SF(K), ``(N, 1024, h, w)``, with gradient.
        temporal: TF1(V), ``(N, 832, h, w)``, with gradient.
        proposals: N tensors ``(k_i, 4)`` in input pixels, by descending objectness, without
            gradient.
        losses: ``loss_rpn_cls``, ``loss_rpn_bbox`` (lists of one tensor), ``loss_cls``,
            ``loss_bbox`` and what :class:`DomainAdaptation` gives.
    """

    inputs: dict[str, Tensor]
    samples: list
    num_source: int
    spatial: Tensor
    temporal: Tensor
    proposals: list[Tensor]
    losses: dict
