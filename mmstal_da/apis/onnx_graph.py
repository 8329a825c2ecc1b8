"""A detector's prediction, written with what ONNX's own operators compute."""

import torch
from mmcv.ops import RoIAlign, nms
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import delta2bbox
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmstal_da.errors import UsageError
from mmstal_da.models.data_preprocessors import ClipKeyFramePreprocessor
from mmstal_da.models.detectors import ActionTubeDetector
from mmstal_da.models.layers.batch_layout import Layout
from mmstal_da.models.roi_heads import ActionRoIHead

NO_SCORE = float('-inf')  # of what cannot be chosen: below every threshold
NO_LIMIT = 2**31 - 1
NMS_KEYS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}


class OnnxNms(torch.autograd.Function):
    """ONNX's ``NonMaxSuppression``, of boxes without classes.

    ``apply(boxes (N, M, 4), scores (N, 1, M), score_thr (1,), iou_thr, limit)`` is (K, 3) int64:
    image, 0 and index of every kept box, image by image, by descending score, no more than
    ``limit`` of an image.
    """

    @staticmethod
    def forward(ctx, boxes, scores, score_thr, iou_thr, limit):
        """As ``mmcv.ops.nms`` keeps them."""
        kept = []
        for image in range(len(boxes)):
            (place,) = torch.nonzero(scores[image, 0] > score_thr, as_tuple=True)
            _, index = nms(boxes[image, place], scores[image, 0, place], iou_thr)
            index = place[index[:limit]]
            kept.append(torch.stack([torch.full_like(index, image), index * 0, index], 1))
        return torch.cat(kept)

    @staticmethod
    def symbolic(g, boxes, scores, score_thr, iou_thr, limit):
        """The operator, since opset 11; for it, x and y are alike."""
        limit, iou_thr = (g.op('Constant', value_t=torch.tensor([v])) for v in (limit, iou_thr))
        return g.op('NonMaxSuppression', boxes, scores, limit, iou_thr, score_thr)


class OnnxRoiAlign(torch.autograd.Function):
    """ONNX's ``RoiAlign``: the mean of a bin's samples.

    ``apply(features (N, C, H, W), boxes (R, 4), image (R,), layer)`` is (R, C, h, w), as mmcv's
    ``layer`` computes it. mmcv exports it for opset 10, which shifts aligned boxes twice in
    opset 16.
    """

    @staticmethod
    def forward(ctx, features, boxes, image, layer):
        """As mmcv."""
        return layer(features, torch.cat([image[:, None].to(boxes), boxes], 1))

    @staticmethod
    def symbolic(g, features, boxes, image, layer):
        """The operator, since opset 16."""
        height, width = layer.output_size
        return g.op(
            'RoiAlign', features, boxes, image,
            coordinate_transformation_mode_s=(
                'half_pixel' if layer.aligned else 'output_half_pixel'
            ),
            mode_s='avg', output_height_i=height, output_width_i=width,
            sampling_ratio_i=max(layer.sampling_ratio, 0), spatial_scale_f=layer.spatial_scale,
        )  # fmt: skip


class FixedSizes(TorchFunctionMode):
    """Inside it, the tracer takes sizes as numbers and leaves out memory layouts.

    The padding of I3D depends on the size, and ONNX's convolutions take it as a number. It is the
    same number for all sizes that the stride divides.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Calls ``func``."""
        if func is torch.Tensor.contiguous:
            return args[0]
        result = func(*args, **(kwargs or {}))
        if func == torch.Tensor.shape.__get__:  # type: ignore[attr-defined]
            return torch.Size(int(size) for size in result)
        return result


class TracedExtents:
    """What images cover of a map, with sizes that are tensors (see ``models.layers.batch_layout``).

    Args:
        sizes: (N, 2) height and width of the images in input pixels.
        stride: (y, x) of the map.
    """

    def __init__(self, sizes: Tensor, stride: tuple[int, int]) -> None:
        self.sizes = sizes
        self.stride = stride

    def _coordinates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Row (1, 1, h, w) and column of every cell; no size becomes a constant."""
        ones = torch.ones_like(x[:1, :1, 0] if x.ndim == 5 else x[:1, :1])
        return ones.cumsum(2) - 1, ones.cumsum(3) - 1

    def mask(self, x: Tensor) -> Tensor:
        """As ``valid_mask``."""
        height, width = (self.sizes[:, axis].view(-1, 1, 1, 1) for axis in (0, 1))
        row, column = self._coordinates(x)
        return (row * self.stride[0] < height) & (column * self.stride[1] < width)

    def extend_edges(self, x: Tensor) -> Tensor:
        """As ``extend_edges``."""
        for axis, place in enumerate(self._coordinates(x)):
            last = (self.sizes[:, axis] / self.stride[axis]).ceil().view(-1, 1, 1, 1) - 1
            index = torch.minimum(place, last).long() + torch.zeros_like(x).long()
            x = x.gather(2 + axis, index)
        return x


class TracedLayout:
    """A batch at inference whose images have sizes that are tensors.

    Args:
        sizes: (N, 2) height and width of the images.
        full: (height, width) to which they are padded.
    """

    num_source = None

    def __init__(self, sizes: Tensor, full: tuple[int, int]) -> None:
        self.sizes = sizes
        self.full = full

    def extents(self, height: int, width: int) -> TracedExtents:
        """What each image covers of a map ``height`` x ``width``."""
        return TracedExtents(self.sizes, (self.full[0] // height, self.full[1] // width))


class DetectorGraph(nn.Module):
    """:meth:`ActionTubeDetector.predict` of a batch of clips of one size.

    Args:
        detector: In eval mode.

    Raises:
        UsageError: A part of the detector has no counterpart among ONNX's operators.
    """

    def __init__(self, detector: ActionTubeDetector) -> None:
        super().__init__()
        check_exportable(detector)
        self.detector = detector
        self.multiple = detector.data_preprocessor.pad_size_divisor

    def forward(
        self,
        clip: Tensor,
        key_frame: Tensor,
        img_shape: Tensor,
        scale_factor: Tensor,
        score_thr: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect actions on the key frames.

        Args:
            clip: (N, 3, T, H, W) float32, normalised.
            key_frame: (N, 3, H, W) float32, normalised.
            img_shape: (N, 2) float32, height and width of the image in it; what lies beyond is
                padding. Boxes are clipped to it.
            scale_factor: (N, 2) float32, x and y: the image's pixels by the original video's.
            score_thr: (1,) float32; a detection has a higher score.

        Returns:
            Of all D detections of the batch, image by image, best first: boxes (D, 4) x1 y1 x2 y2
            in pixels of the original video, scores (D,), labels (D,) int64, and the place of the
            image in the batch (D,) int64.
        """
        inputs = dict(clip=self._pad(clip), key_frame=self._pad(key_frame))
        with FixedSizes():
            height, width = inputs['clip'].shape[-2:]
            layout = TracedLayout(img_shape, (height, width))
            self.detector.layout.now = layout  # type: ignore[assignment]  # the same methods
            try:
                spatial, temporal = self.detector.extract_feat(inputs)
            finally:
                self.detector.layout.now = Layout()
            extents = layout.extents(*spatial.shape[-2:])
        temporal = extents.extend_edges(temporal)
        limits = img_shape[:, [1, 0, 1, 0]]  # (N, 4): largest x, y, x, y
        proposals, image = self._propose(spatial, limits, extents)
        # one RoI more, of no image, so that there is always one
        proposals = torch.cat([proposals, proposals.new_zeros(1, 4)])
        image = torch.cat([image, image.new_full((1,), -1)])
        return self._classify(temporal, proposals, image, limits, scale_factor, score_thr)

    def _pad(self, x: Tensor) -> Tensor:
        """Zeros at the bottom and right, to a multiple."""
        height, width = x.shape[-2:]
        return nn.functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))

    def _propose(
        self, spatial: Tensor, limits: Tensor, extents: TracedExtents
    ) -> tuple[Tensor, Tensor]:
        """The RPN's proposals (S, 4) in input pixels, and their images (S,)."""
        head = self.detector.rpn_head
        cfg = head.test_cfg
        (scores,), (deltas,) = head((spatial,))
        n = scores.shape[0]
        scores = torch.where(extents.mask(scores), scores.sigmoid(), NO_SCORE)
        scores = scores.permute(0, 2, 3, 1).reshape(n, -1)  # (N, A)
        deltas = deltas.permute(0, 2, 3, 1).reshape(n, -1, 4)
        (anchors,) = head.prior_generator.grid_priors([spatial.shape[-2:]], device=spatial.device)
        scores, order = scores.sort(1, descending=True)
        if cfg.get('nms_pre', -1) > 0:
            scores, order = scores[:, : cfg.nms_pre], order[:, : cfg.nms_pre]  # (N, M)
        deltas = deltas.gather(1, order[..., None].expand(-1, -1, 4))
        boxes = decode(head.bbox_coder, anchors[order].reshape(-1, 4), deltas.reshape(-1, 4))
        boxes = clip_to(boxes.reshape(n, -1, 4), limits[:, None])
        if cfg.get('min_bbox_size', -1) >= 0:
            sides = (boxes[..., 2:] - boxes[..., :2]).amin(-1)
            scores = torch.where(sides > cfg.min_bbox_size, scores, NO_SCORE)
        every_score = scores.new_tensor([-1.0])  # as mmdet's RPN, which knows no threshold
        kept = OnnxNms.apply(
            boxes, scores[:, None], every_score, cfg.nms.iou_threshold, cfg.max_per_img
        )
        image, index = kept[:, 0], kept[:, 2]
        return boxes.reshape(-1, 4)[image * boxes.shape[1] + index], image

    def _classify(
        self,
        temporal: Tensor,
        proposals: Tensor,
        image: Tensor,
        limits: Tensor,
        scale_factor: Tensor,
        score_thr: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detections, as :meth:`forward` returns them, of R proposals; image -1 is of none."""
        head = self.detector.roi_head
        cfg = head.test_cfg
        classes = head.bbox_head.num_classes
        some_image = image.clamp(min=0)
        (layer,) = head.bbox_roi_extractor.roi_layers
        pooled = OnnxRoiAlign.apply(temporal, proposals, some_image, layer)
        with FixedSizes():
            pooled = head.shared_head(pooled) if head.with_shared_head else pooled
        logits, deltas = head.bbox_head(pooled)
        scores = logits.softmax(-1)[:, :-1].reshape(-1)  # (R * C,)
        boxes = decode(head.bbox_head.bbox_coder, proposals, deltas).reshape(image.shape[0], -1, 4)
        boxes = clip_to(boxes, limits[some_image][:, None])
        boxes = boxes * (1 / scale_factor.repeat(1, 2))[some_image][:, None]
        boxes = boxes.expand(-1, classes, 4).reshape(-1, 4)  # (R * C, 4)
        labels = torch.arange(classes, device=boxes.device).repeat(image.shape[0])
        owner = image[:, None].expand(-1, classes).reshape(-1)
        images = torch.arange(temporal.shape[0], device=boxes.device)[:, None]
        possible = (owner == images) & (scores > score_thr)  # (N, R * C)
        # mmdet keeps the classes apart by shifting their boxes; the same shift rounds the same
        largest = torch.where(possible, boxes.amax(1), 0).amax(1, keepdim=True)  # (N, 1)
        shift = labels.to(boxes) * (largest + 1)  # (N, R * C)
        if cfg.nms.get('class_agnostic', False):
            shift = torch.zeros_like(shift)
        kept = OnnxNms.apply(
            boxes + shift[..., None], torch.where(possible, scores, NO_SCORE)[:, None], score_thr,
            cfg.nms.iou_threshold, cfg.max_per_img if cfg.max_per_img > 0 else NO_LIMIT,
        )  # fmt: skip
        image, index = kept[:, 0], kept[:, 2]
        return boxes[index], scores[index], labels[index], image


def decode(coder: DeltaXYWHBBoxCoder, boxes: Tensor, deltas: Tensor) -> Tensor:
    """(n, 4) and (n, 4 k) -> (n, 4 k), not clipped."""
    return delta2bbox(
        boxes, deltas, coder.means, coder.stds, clip_border=False,
        add_ctr_clamp=coder.add_ctr_clamp, ctr_clamp=coder.ctr_clamp,
    )  # fmt: skip


def clip_to(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes between 0 and ``limits``, which are broadcast."""
    return torch.minimum(boxes.clamp(min=0), limits)


def check_exportable(detector: ActionTubeDetector) -> None:
    """Refuse what :class:`DetectorGraph` would compute otherwise than ``predict``.

    Raises:
        UsageError: See there; the message names the key of the config.
    """
    rpn, roi = detector.rpn_head, detector.roi_head
    extractor, head = roi.bbox_roi_extractor, roi.bbox_head
    layers = getattr(extractor, 'roi_layers', ())
    known = (
        ('data_preprocessor', detector.data_preprocessor, ClipKeyFramePreprocessor),
        ('rpn_head', rpn, RPNHead),
        ('rpn_head.bbox_coder', rpn.bbox_coder, DeltaXYWHBBoxCoder),
        ('roi_head', roi, ActionRoIHead),
        ('roi_head.bbox_roi_extractor', extractor, SingleRoIExtractor),
        *(('roi_head.bbox_roi_extractor.roi_layer', layer, RoIAlign) for layer in layers),
        ('roi_head.bbox_head.bbox_coder', head.bbox_coder, DeltaXYWHBBoxCoder),
    )
    for key, part, kind in known:
        if type(part) is not kind:
            raise UsageError(
                f'the export knows {kind.__name__} as model.{key}, not {type(part).__name__}'
            )
    if type(detector).predict is not ActionTubeDetector.predict or not isinstance(head, BBoxHead):
        raise UsageError(
            f'the export knows the prediction of ActionTubeDetector and BBoxHead, not that of'
            f' {type(detector).__name__} and {type(head).__name__}'
        )
    strides = extractor.featmap_strides
    needed = (
        ('rpn_head.loss_cls.use_sigmoid = True', rpn.use_sigmoid_cls),
        ('one stride in rpn_head.anchor_generator.strides', rpn.prior_generator.num_levels == 1),
        ('one stride in roi_head.bbox_roi_extractor.featmap_strides', len(strides) == 1),
        ("roi_layer.pool_mode = 'avg'", all(layer.pool_mode == 'avg' for layer in layers)),
        ('rpn_head.bbox_coder.clip_border = True', rpn.bbox_coder.clip_border),
        ('roi_head.bbox_head.bbox_coder.clip_border = True', head.bbox_coder.clip_border),
        ('bbox_head with classes, boxes and a loss of its usual activation',
         head.with_cls and head.with_reg and not head.custom_cls_channels),
        ('test_cfg.rpn.max_per_img of at least 1', rpn.test_cfg.max_per_img > 0),
        *(
            (f"test_cfg.{name}.nms = dict(type='nms', iou_threshold=…): the opset has no other",
             cfg.nms.get('type', 'nms') == 'nms' and set(cfg.nms) <= NMS_KEYS)
            for name, cfg in (('rpn', rpn.test_cfg), ('rcnn', roi.test_cfg))
        ),
    )  # fmt: skip
    for what, there in needed:
        if not there:
            raise UsageError(f'the export to ONNX needs model.{what}')
