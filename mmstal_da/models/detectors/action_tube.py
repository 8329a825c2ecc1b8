"""The detector of the paper, without adaptation: key-frame proposals, clip features."""

from functools import partial

import torch
from mmdet.models.detectors import TwoStageDetector
from torch import Tensor

from mmstal_da.domains import SOURCE
from mmstal_da.errors import OutputError
from mmstal_da.models.layers.batch_layout import (
    BatchLayout,
    extend_edges,
    map_extents,
    sees_padding,
)
from mmstal_da.registry import MODELS

from .map_checks import check_maps


@MODELS.register_module()
class ActionTubeDetector(TwoStageDetector):
    """Spatio-temporal action detector on two backbones.

    A 2D network SF sees the key frame K, and a region proposal network finds actors on its map.
    A 3D network TF1 sees the clip V. Its features are averaged over time, pooled under the
    proposals, passed through TF2 and classified. Target samples of a batch are left out.

    Images of different sizes in one batch are padded. What is found in an image does not depend on
    its padding, see :mod:`mmstal_da.models.layers.batch_layout`.

    Args:
        backbone: SF, a 2D network with one output map of stride s.
        clip_backbone: TF1, a 3D network with an output of the same stride s.
        rpn_head: mmdet's region proposal network on SF(K).
        roi_head: :class:`ActionRoIHead`.
        train_cfg: mmdet's ``rpn``, ``rpn_proposal`` and ``rcnn``.
        test_cfg: mmdet's ``rpn`` and ``rcnn``.
        data_preprocessor: :class:`ClipKeyFramePreprocessor`.
        init_cfg: MMEngine initialisation.
    """

    def __init__(
        self,
        backbone: dict,
        clip_backbone: dict,
        rpn_head: dict,
        roi_head: dict,
        train_cfg: dict,
        test_cfg: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            rpn_head=rpn_head,
            roi_head=roi_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.clip_backbone = MODELS.build(clip_backbone)
        self.layout = BatchLayout()
        self._maps_are_checked = False

    def extract_feat(self, batch_inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """SF of the key frames and TF1 of the clips.

        Args:
            batch_inputs: ``clip`` ``(N, 3, T, H, W)`` and ``key_frame`` ``(N, 3, H, W)``.

        Returns:
            SF(K) ``(N, 1024, h, w)`` and TF1(V), averaged over time, ``(N, 832, h, w)``; zeros in
            padding, if this is called inside of ``layout.images(samples)``.
        """
        self._leave_padding_out()
        key_frame = batch_inputs['key_frame'].contiguous(memory_format=torch.channels_last)
        (spatial,) = self.backbone(key_frame)
        temporal = self.clip_backbone(batch_inputs['clip']).mean(2)
        if spatial.shape[2:] != temporal.shape[2:]:
            raise RuntimeError(
                f'the two backbones must have one stride: SF(K) is {tuple(spatial.shape)}, '
                f'TF1(V) is {tuple(temporal.shape)} for a clip of '
                f'{tuple(batch_inputs["clip"].shape)}'
            )
        if not self._maps_are_checked:
            check_maps(self, key_frame.shape[-2:], spatial, temporal)
            self._maps_are_checked = True
        return spatial, temporal

    def _leave_padding_out(self) -> None:
        """Have both networks leave the padding of this batch out, if there is any.

        Raises:
            RuntimeError: A network cannot, and its features are compared between domains.
        """
        if self.layout.now.sizes is None:
            return
        for key in ('backbone', 'clip_backbone'):
            network = getattr(self, key)
            reason = sees_padding(network)
            if reason is None:
                self.layout.cover(network)
            elif self.layout.num_source is not None:
                raise RuntimeError(
                    f'model.{key}, a {type(network).__name__}, sees padding ({reason}), and images'
                    f' of {sorted(set(self.layout.now.sizes))} (height, width) in one batch are'
                    f' padded to {self.layout.now.full}: a domain could be told by its padding.'
                    ' Have the train_pipeline make clips of one size for both domains, e.g. with'
                    " dict(type='mmaction.Resize', scale=(WIDTH, HEIGHT), keep_ratio=False), both"
                    ' multiples of pad_size_divisor'
                )

    def loss(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> dict:
        """L_act on the source.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples, the source's first. The source's have
                ``gt_instances``; the target's labels, if there are any, are never read.

        Returns:
            ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox`` and mmdet's ``acc``.

        Raises:
            ValueError: The batch has no source sample, or one after a target sample.
        """
        n_source = count_source(batch_data_samples)
        samples = batch_data_samples[:n_source]
        with self.layout.images(samples):
            spatial, temporal = self.extract_feat(
                {key: value[:n_source] for key, value in batch_inputs.items()}
            )
        losses, proposals = self._rpn_loss(spatial, samples, n_source)
        maps = (extend_edges(temporal, map_extents(samples, temporal)),)
        losses.update(self.roi_head.loss(maps, proposals, samples))
        return losses

    def _propose(self, spatial: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The RPN's scores and deltas per level, always in float32, also under autocast."""
        scores, deltas = self.rpn_head((spatial,))
        return [level.float() for level in scores], [level.float() for level in deltas]

    def _rpn_loss(self, spatial: Tensor, samples: list, n_source: int) -> tuple[dict, list]:
        """RPN losses on the source, proposals (without gradient) on every image."""
        scores, deltas = self._propose(spatial)
        with torch.autocast(spatial.device.type, enabled=False):
            actors = []
            for sample in samples[:n_source]:
                instances = sample.gt_instances.clone()
                instances.labels = torch.zeros_like(instances.labels)  # the RPN knows one class
                actors.append(instances)
            metas = [sample.metainfo for sample in samples]
            losses = self.rpn_head.loss_by_feat(
                [level[:n_source] for level in scores],
                [level[:n_source] for level in deltas],
                actors,
                metas[:n_source],
            )
        cfg = self.train_cfg.get('rpn_proposal', self.test_cfg.rpn)
        return losses, self._proposals(scores, deltas, samples, cfg)

    def _proposals(
        self, scores: list[Tensor], deltas: list[Tensor], samples: list, cfg=None, **kwargs
    ) -> list:
        """Proposals of every image, from the part of the maps that the image covers."""
        metas = [sample.metainfo for sample in samples]
        extents = [map_extents(samples, level) for level in scores]
        predict = partial(self.rpn_head.predict_by_feat, cfg=cfg, **kwargs)
        with torch.autocast(scores[0].device.type, enabled=False):
            if not any(extents):
                return predict(scores, deltas, batch_img_metas=metas)
            found = []
            for i, meta in enumerate(metas):
                parts: list[list[Tensor]] = [[], []]
                for level_extents, *maps in zip(extents, scores, deltas, strict=True):
                    rows, columns = level_extents[i] if level_extents else maps[0].shape[-2:]
                    for part, whole in zip(parts, maps, strict=True):
                        part.append(whole[i : i + 1, :, :rows, :columns])
                found += predict(*parts, batch_img_metas=[meta])
            return found

    @torch.no_grad()
    def propose(self, key_frames: Tensor, samples: list, cfg=None, rescale: bool = False) -> list:
        """The RPN's proposals of key frames; neither TF1 nor TF2 runs.

        Args:
            key_frames: ``(N, 3, H, W)`` of the preprocessor.
            samples: Of the N key frames.
            cfg: mmdet's ``test_cfg.rpn``; None takes the model's.
            rescale: Return boxes in pixels of the original video instead of the input.

        Returns:
            N ``InstanceData`` with ``bboxes`` ``(n, 4)`` x1 y1 x2 y2 and ``scores`` ``(n,)``.
        """
        with self.layout.images(samples):
            self._leave_padding_out()
            (spatial,) = self.backbone(key_frames.contiguous(memory_format=torch.channels_last))
        return self._proposals(*self._propose(spatial), samples, cfg, rescale=rescale)

    def predict(
        self, batch_inputs: dict[str, Tensor], batch_data_samples: list, rescale: bool = True
    ) -> list:
        """Detect actions on the key frames.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples with ``img_shape`` and ``scale_factor``.
            rescale: Return boxes in pixels of the original video instead of the input.

        Raises:
            OutputError: A network's output is not finite.

        Returns:
            The samples with ``pred_instances``: ``bboxes`` ``(n, 4)`` x1 y1 x2 y2, ``scores``
            ``(n,)``, ``labels`` ``(n,)``.
        """
        with self.layout.images(batch_data_samples):
            spatial, temporal = self.extract_feat(batch_inputs)
        scores, deltas = self._propose(spatial)
        # NMS drops a NaN: nothing would be found, and that would be scored
        for name, output in (('SF', spatial), ('TF1', temporal), ('the RPN', scores[0])):
            if not bool(torch.isfinite(output).all()):
                raise OutputError(
                    f'{name} gives values that are not finite for'
                    f' {", ".join(map(clip_name, batch_data_samples))}: the weights are of a'
                    ' training that diverged; take an earlier checkpoint'
                )
        proposals = self._proposals(scores, deltas, batch_data_samples)
        maps = (extend_edges(temporal, map_extents(batch_data_samples, temporal)),)
        results = self.roi_head.predict(maps, proposals, batch_data_samples, rescale=rescale)
        for sample, result in zip(batch_data_samples, results, strict=True):
            sample.pred_instances = result
        return batch_data_samples

    def _forward(self, batch_inputs: dict[str, Tensor], batch_data_samples: list) -> tuple:
        """Class scores ``(R, C+1)`` and box deltas ``(R, 4)`` of all proposals, raw."""
        with self.layout.images(batch_data_samples):
            spatial, temporal = self.extract_feat(batch_inputs)
        proposals = self._proposals(*self._propose(spatial), batch_data_samples)
        maps = (extend_edges(temporal, map_extents(batch_data_samples, temporal)),)
        return self.roi_head.forward(maps, proposals, batch_data_samples)


def clip_name(sample) -> str:
    """A sample for messages."""
    meta = sample.metainfo
    return f'{meta.get("video_name")!r} frame {meta.get("key_frame")}'


def count_source(samples: list) -> int:
    """How many samples of a batch are the source's; a sample without a domain counts as source.

    Raises:
        ValueError: There is none, or one comes after a sample of the target.
    """
    domains = [sample.metainfo.get('domain', SOURCE) for sample in samples]
    n_source = domains.count(SOURCE)
    if domains != sorted(domains) or n_source == 0:
        raise ValueError(f'a batch holds source samples first, then target; got {domains}')
    return n_source
