"""What a student sees of the target in place of its strong view: masked or mixed clips."""

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from .target_losses import PseudoLabels

LEAST_VISIBLE = 0.5  # share of a pasted box that lies in the target's clip [derived]
MOST_HIDDEN = 0.5  # share of a target's box that a pasted one may cover [derived]


def masked(
    inputs: dict[str, Tensor], ratio: float, block: int, draws: Tensor | None = None
) -> dict[str, Tensor]:
    """Clips of which square blocks are set to the mean (MIC, Hoyer et al., CVPR 2023, Eq. 4-5).

    A block is masked if its draw is below ``ratio``. A clip has one mask for all of its frames,
    so that a block shows nothing at any time **[derived]**. Normalised inputs have the mean 0.

    Args:
        inputs: ``clip`` (N, 3, T, H, W) and ``key_frame`` (N, 3, H, W), normalised.
        ratio: Share of the blocks that is masked.
        block: Side of a block in pixels.
        draws: (N, ceil(H / block), ceil(W / block)) in [0, 1); None draws them.
    """
    keys = inputs['key_frame']
    count, _, height, width = keys.shape
    if draws is None:
        draws = torch.rand(count, -(-height // block), -(-width // block))
    hidden = (draws < ratio).repeat_interleave(block, 1).repeat_interleave(block, 2)
    hidden = hidden[:, None, :height, :width].to(keys.device)
    return dict(
        inputs,
        key_frame=keys.masked_fill(hidden, 0),
        clip=inputs['clip'].masked_fill(hidden[:, :, None], 0),
    )


def mixed(
    target: dict[str, Tensor],
    target_samples: list,
    labels: PseudoLabels,
    source: dict[str, Tensor],
    source_samples: list,
    prob: float,
) -> tuple[dict[str, Tensor], PseudoLabels]:
    """Target clips into which an action of the source is pasted (DA-AIM, Lu et al., 2022).

    A target clip i gets a labelled box, drawn from the source clip ``i mod S``: its region, at its
    place, in every frame of the clip. The region is the key frame's box, because a clip's tube is
    not given to the model **[derived]**. Boxes of the target that it covers by half are left out.

    Args:
        target: ``clip`` and ``key_frame`` of N target clips, normalised and padded.
        target_samples: Their samples, with ``pad_shape``.
        labels: Of the target.
        source: The same of S source clips, in the same padded size.
        source_samples: Their samples, with ``gt_instances``.
        prob: Probability that a target clip is mixed. A box of which less than half would lie in
            the clip is not pasted.

    Returns:
        New inputs and labels.
    """
    clips, keys, found = target['clip'].clone(), target['key_frame'].clone(), list(labels)
    draws = torch.rand(len(labels), 2).tolist()
    for i, (gate, which) in enumerate(draws):
        j = i % len(source_samples)
        actors = source_samples[j].gt_instances
        if gate >= prob or not len(actors):
            continue
        actor = actors[[int(which * len(actors))]]
        region = visible_region(actor.bboxes[0], target_samples[i].metainfo['pad_shape'])
        if region is None:
            continue
        x1, y1, x2, y2 = region
        clips[i, ..., y1:y2, x1:x2] = source['clip'][j, ..., y1:y2, x1:x2]
        keys[i, ..., y1:y2, x1:x2] = source['key_frame'][j, ..., y1:y2, x1:x2]
        found[i] = _joined(labels[i], actor, region)
    return dict(target, clip=clips, key_frame=keys), found


def visible_region(box: Tensor, shape: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Whole pixels x1, y1, x2, y2 of a box within an image (height, width), ends excluded.

    None if there are none, or less than half of the box lies in the image.
    """
    x1, y1, x2, y2 = (round(side) for side in box.tolist())
    area = (x2 - x1) * (y2 - y1)
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, shape[1]), min(y2, shape[0])
    if x2 <= x1 or y2 <= y1 or (x2 - x1) * (y2 - y1) < LEAST_VISIBLE * area:
        return None
    return x1, y1, x2, y2


def _joined(
    labels: tuple[InstanceData, InstanceData],
    actor: InstanceData,
    region: tuple[int, int, int, int],
) -> tuple[InstanceData, InstanceData]:
    """The labels that the pasted region leaves, and its own."""
    pasted = actor.bboxes.new_tensor([region])
    kept = [boxes[_covered(boxes.bboxes, pasted[0]) <= MOST_HIDDEN] for boxes in labels]
    boxes = torch.cat([kept[0].bboxes, pasted.to(kept[0].bboxes)])
    classes = torch.cat([kept[0].labels, actor.labels.to(kept[0].labels)])
    return InstanceData(bboxes=boxes, labels=classes), kept[1]


def _covered(boxes: Tensor, region: Tensor) -> Tensor:
    """``(n,)`` share of each box that the region covers."""
    if not len(boxes):
        return boxes.new_zeros(0)
    region = region.to(boxes)
    sides = torch.minimum(boxes[:, 2:], region[2:]) - torch.maximum(boxes[:, :2], region[:2])
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    return sides.clamp(min=0).prod(1) / areas.clamp(min=1e-6)
