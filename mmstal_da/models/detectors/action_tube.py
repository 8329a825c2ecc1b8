"""The detector of the paper, without adaptation: key-frame proposals, clip features."""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from mmdet.models.detectors import TwoStageDetector
from torch import Tensor, nn

from mmstal_da.compat import load_pretrained
from mmstal_da.domains import SOURCE
from mmstal_da.errors import ConfigError, OutputError
from mmstal_da.models.backbones.between_clips import interpolated_maps
from mmstal_da.models.backbones.clip_windows import ClipWindows
from mmstal_da.models.backbones.inception_i3d import InceptionI3D
from mmstal_da.models.layers.batch_layout import (
    BatchLayout,
    extend_edges,
    map_extents,
    sees_padding,
)
from mmstal_da.registry import MODELS

from .clip_map import clip_map
from .step import Step


@MODELS.register_module()
class ActionTubeDetector(TwoStageDetector):
    """Spatio-temporal action detector on two backbones.

    A 2D network SF sees the key frame K, and a region proposal network finds actors on its map.
    A network TF1 sees the clip V. Its features are averaged over time, brought to the grid of SF's
    map, pooled under the proposals, passed through TF2 and classified. Target samples of a batch
    are left out.

    Three keys of the config name the widths of the parts: ``rpn_head.in_channels`` (SF),
    ``roi_head.bbox_roi_extractor.out_channels`` (TF1) and ``roi_head.bbox_head.in_channels`` (TF2).
    A part that gives another width is an error that names the key.

    A detector of one's own overrides :meth:`spatial_features` (SF), :meth:`temporal_features` (TF1)
    or :meth:`further_losses`.

    Images of different sizes in one batch are padded. What is found in an image does not depend on
    its padding, see :mod:`mmstal_da.models.layers.batch_layout`.

    Args:
        backbone: SF, a 2D network with one output map, of the stride of the RPN's anchors.
        clip_backbone: TF1, any clip backbone of MMAction2 that returns maps, or
            :class:`InceptionI3D`. See :func:`~.clip_map.clip_map`.
        rpn_head: mmdet's region proposal network on SF(K).
        roi_head: :class:`ActionRoIHead`, whose ``shared_head`` is TF2.
        train_cfg: mmdet's ``rpn``, ``rpn_proposal`` and ``rcnn``.
        test_cfg: mmdet's ``rpn`` and ``rcnn``. Besides a key that makes whole videos faster and
            detections slightly different: with ``clip_stride`` n TF1 sees a key frame in every n
            frames of a batch, and is interpolated between
            (:mod:`~mmstal_da.models.backbones.between_clips`).
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
        # if set, sees every prediction: detector, maps, samples, the RPN's results, rescale
        self.test_observer: Callable[..., None] | None = None
        self._check_parts()

    def init_weights(self) -> None:
        """As MMEngine's, and pretrained weights also for backbones that ignore ``init_cfg``."""
        super().init_weights()
        if not self.init_cfg:
            load_pretrained(self.clip_backbone)

    def _check_parts(self) -> None:
        """See that strides and widths agree where the parts name them.

        Raises:
            ConfigError: Names the key to correct.
        """
        extractor = self.roi_head.bbox_roi_extractor
        strides = [tuple(stride) for stride in self.rpn_head.prior_generator.strides]
        if len(strides) != 1 or strides != [(side, side) for side in extractor.featmap_strides]:
            raise ConfigError(
                'SF has one map, on whose grid TF1 is pooled: model.rpn_head.anchor_generator'
                f' has the strides {strides}, model.roi_head.bbox_roi_extractor.featmap_strides'
                f' {extractor.featmap_strides}; give both one stride'
            )
        divisor = getattr(self.data_preprocessor, 'pad_size_divisor', None)
        if divisor is not None and divisor % strides[0][0]:
            raise ConfigError(
                'model.data_preprocessor.pad_size_divisor is a multiple of the stride of the maps,'
                f' {strides[0][0]}, not {divisor}'
            )
        width = getattr(self.clip_backbone, 'out_channels', None)
        if isinstance(width, int):
            self._check_width('clip_backbone', self.clip_backbone, width)

    def _check_width(self, key: str, part: nn.Module, width: int) -> None:
        """See that SF or TF1 has as many channels as the next part reads."""
        reader, wanted = {
            'backbone': ('rpn_head.in_channels', self.rpn_head.in_channels),
            'clip_backbone': (
                'roi_head.bbox_roi_extractor.out_channels',
                self.roi_head.bbox_roi_extractor.out_channels,
            ),
        }[key]
        if width != wanted:
            raise ConfigError(
                f'model.{key}: {type(part).__name__} gives {width} channels, but model.{reader} is'
                f' {wanted}; set it to {width}'
            )

    def extract_feat(self, batch_inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """SF of the key frames and TF1 of the clips.

        Args:
            batch_inputs: ``clip`` ``(N, 3, T, H, W)`` and ``key_frame`` ``(N, 3, H, W)``; at
                inference ``windows`` in place of ``clip``, if clips share frames.

        Returns:
            SF(K) ``(N, 1024, h, w)`` and TF1(V), averaged over time, ``(N, 832, h, w)``; zeros in
            padding, if this is called inside of ``layout.images(samples)``.
        """
        self._leave_padding_out()
        spatial = self.spatial_features(batch_inputs['key_frame'])
        if 'windows' not in batch_inputs:
            return spatial, self.temporal_features(batch_inputs['clip'], spatial)
        windows = cast(ClipWindows, batch_inputs['windows'])
        # a method of one's own expects a tensor, and only I3D shares layers
        ours = type(self).temporal_features is ActionTubeDetector.temporal_features
        if not ours or not isinstance(self.clip_backbone, InceptionI3D):
            return spatial, self.temporal_features(windows.clips(), spatial)
        with self.layout.any_number_of_rows():
            return spatial, self.temporal_features(windows, spatial)

    def spatial_features(self, key_frame: Tensor) -> Tensor:
        """SF(K): ``(N, 3, H, W)`` key frames to ``(N, 1024, h, w)``.

        Raises:
            RuntimeError: SF gives several maps, or one of another stride than the RPN's anchors.
            ConfigError: SF has another width than ``rpn_head.in_channels``.
        """
        maps = self.backbone(key_frame.contiguous(memory_format=torch.channels_last))
        if len(maps) != 1:
            raise RuntimeError(
                f'model.backbone: {type(self.backbone).__name__} gives {len(maps)} maps; choose one'
                ' with out_indices'
            )
        (spatial,) = maps
        self._check_width('backbone', self.backbone, spatial.shape[1])
        (stride,) = self.roi_head.bbox_roi_extractor.featmap_strides
        grid = [-(-side // stride) for side in key_frame.shape[2:]]
        if list(spatial.shape[2:]) != grid:
            raise RuntimeError(
                f'model.backbone: SF(K) is {tuple(spatial.shape)} for key frames of '
                f'{tuple(key_frame.shape)}; with the stride {stride} of'
                f' model.rpn_head.anchor_generator it is {grid[0]} x {grid[1]}. Change its strides'
                ' or num_stages, or the stride of the anchors and of bbox_roi_extractor'
            )
        return spatial

    def temporal_features(self, clip: Tensor | ClipWindows, spatial: Tensor) -> Tensor:
        """TF1(V) on the grid of SF(K).

        Args:
            clip: ``(N, 3, T, H, W)``, or such clips that share frames.
            spatial: SF(K), ``(N, 1024, h, w)``.

        Returns:
            ``(N, 832, h, w)``.

        Raises:
            RuntimeError: See :func:`~.clip_map.clip_map`.
            ConfigError: TF1 has another width than ``roi_head.bbox_roi_extractor.out_channels``.
        """
        network = type(self.clip_backbone).__name__
        height, width = spatial.shape[2:]
        extents = self.layout.now.extents
        stride = self.test_cfg.get('clip_stride', 1)
        if stride > 1 and isinstance(clip, ClipWindows):
            found = interpolated_maps(self.clip_backbone, clip, stride)
        else:
            found = self.clip_backbone(clip)
        temporal = clip_map(found, (height, width), network, extents)
        self._check_width('clip_backbone', self.clip_backbone, temporal.shape[1])
        return temporal

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
                ``gt_instances``, and may have ``ignored_instances``: boxes that are neither
                examples of an action nor of background. The target's labels, if there are any,
                are never read.

        Returns:
            ``loss_rpn_cls``, ``loss_rpn_bbox``, ``loss_cls``, ``loss_bbox`` and mmdet's ``acc``.

        Raises:
            ValueError: The batch has no source sample, or one after a target sample.
        """
        n_source = count_source(batch_data_samples)
        samples = batch_data_samples[:n_source]
        # weak views are the target's
        names = [key for key in batch_inputs if not key.startswith('weak_')]
        inputs = {key: batch_inputs[key][:n_source] for key in names}
        with self.layout.images(samples):
            spatial, temporal = self.extract_feat(inputs)
        losses, proposals = self._rpn_loss(spatial, samples, n_source)
        boxes = [result.bboxes for result in proposals]  # before the RoI head renames them
        maps = (extend_edges(temporal, map_extents(samples, temporal)),)
        losses.update(self.roi_head.loss(maps, proposals, samples))
        step = Step(inputs, samples, n_source, spatial, temporal, boxes, losses)
        return self._with_further_losses(step)

    def further_losses(self, step: Step) -> dict[str, Tensor]:
        """Losses of one's own, for a subclass to override; here none.

        Args:
            step: Features, proposals and losses of this batch.

        Returns:
            Name -> scalar. A name with ``loss`` in it adds to the total that is minimised, any
            other is only logged. The name of a loss in ``step.losses`` replaces it.
        """
        return {}

    def _with_further_losses(self, step: Step) -> dict:
        """The step's losses and :meth:`further_losses`."""
        return {**step.losses, **self.further_losses(step)}

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
                # the RPN knows one class, the head several per box
                instances.labels = instances.labels.new_zeros(len(instances), dtype=torch.long)
                actors.append(instances)
            metas = [sample.metainfo for sample in samples]
            ignored = [sample.get('ignored_instances') for sample in samples[:n_source]]
            losses = self.rpn_head.loss_by_feat(
                [level[:n_source] for level in scores],
                [level[:n_source] for level in deltas],
                actors,
                metas[:n_source],
                ignored if any(boxes is not None for boxes in ignored) else None,
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
            spatial = self.spatial_features(key_frames)
        return self._proposals(*self._propose(spatial), samples, cfg, rescale=rescale)

    def predict(
        self, batch_inputs: dict[str, Tensor], batch_data_samples: list, rescale: bool = True
    ) -> list:
        """Detect actions on the key frames.

        Args:
            batch_inputs: As :meth:`extract_feat`.
            batch_data_samples: N samples with ``img_shape`` and ``scale_factor``. With
                ``proposals`` these are taken in place of the RPN's, and are refined like them.
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
        if all('proposals' in sample for sample in batch_data_samples):
            proposals = [sample.proposals.to(spatial.device) for sample in batch_data_samples]
        else:
            proposals = self._proposals(scores, deltas, batch_data_samples)
        maps = (extend_edges(temporal, map_extents(batch_data_samples, temporal)),)
        results = self.roi_head.predict(maps, proposals, batch_data_samples, rescale=rescale)
        for sample, result in zip(batch_data_samples, results, strict=True):
            sample.pred_instances = result
        if self.test_observer is not None:
            seen = dict(SF=spatial, TF1=temporal)
            self.test_observer(self, seen, batch_data_samples, proposals, rescale)
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
