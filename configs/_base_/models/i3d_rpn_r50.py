# The paper's detector at the paper's size: I3D on the clip, ResNet-50 C4 and RPN on the key frame.
# Both backbones have stride 16, so proposals of one are pooled on the map of the other.
# Weights: python tools/get_weights.py i3d_kinetics400, and resnet50_imagenet.
i3d_weights = dict(type='StrictPretrained', checkpoint='data/weights/i3d_kinetics400.pth')
resnet_weights = dict(type='StrictPretrained', checkpoint='data/weights/resnet50_imagenet.pth')
max_iou = dict(type='IgnoringAssigner', ignore_iof_thr=0.5)  # ignored boxes: only in pseudo-labels
model = dict(
    # without the key `adaptation` this is the plain ActionTubeDetector; rows switch modules on with the values of
    # ../adaptation/modules.py
    type='DomainAdaptiveDetector',
    data_preprocessor=dict(
        type='ClipKeyFramePreprocessor',
        clip_mean=[127.5, 127.5, 127.5],  # I3D was trained on RGB in [-1, 1]
        clip_std=[127.5, 127.5, 127.5],
        # as in the training of the original ResNet-50: BGR, means only. torchvision's weights need the other file,
        # i3d_rpn_r50_torchvision.py
        key_mean=[103.939, 116.779, 123.68],
        key_std=[1.0, 1.0, 1.0],
        key_bgr=True,
        pad_size_divisor=16,
    ),
    # SF: up to C4 (stage 3 of 4)
    backbone=dict(
        type='mmdet.ResNet',
        depth=50,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        # one clip per domain and GPU is too few for batch statistics: keep ImageNet's
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='caffe',  # a stage's stride is in its first 1x1 convolution
        init_cfg=dict(resnet_weights, unused=('layer4.', 'fc.')),
    ),
    # TF1
    clip_backbone=dict(
        type='InceptionI3D',
        end_point='Mixed_4f',
        norm_eval=True,
        init_cfg=dict(i3d_weights, unused=('Mixed_5', 'logits.')),
    ),
    rpn_head=dict(
        type='mmdet.RPNHead',
        in_channels=1024,
        feat_channels=512,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            scales=[2, 4, 8, 16],  # 32 to 256 px at stride 16: actors in a frame of short side 256
            ratios=[0.5, 1.0, 2.0],
            strides=[16],
        ),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.L1Loss', loss_weight=1.0),
    ),
    roi_head=dict(
        type='ActionRoIHead',
        bbox_roi_extractor=dict(
            type='mmdet.SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
            out_channels=832,
            featmap_strides=[16],
        ),
        # TF2
        shared_head=dict(
            type='InceptionRoIStage',
            after='Mixed_4f',
            end_point='Mixed_5c',
            norm_eval=True,
            init_cfg=dict(i3d_weights, unused=('Conv3d_', 'Mixed_3', 'Mixed_4', 'logits.')),
        ),
        bbox_head=dict(
            type='mmdet.BBoxHead',
            with_avg_pool=True,
            roi_feat_size=7,
            in_channels=1024,
            num_classes=4,  # of the pair: len(_base_.classes)
            reg_class_agnostic=True,
            cls_predictor_cfg=dict(type='mmdet.Linear'),
            reg_predictor_cfg=dict(type='mmdet.Linear'),
            bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='mmdet.L1Loss', loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(max_iou, pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, match_low_quality=True),
            sampler=dict(
                type='mmdet.RandomSampler', num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False
            ),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=2000, max_per_img=300, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(max_iou, pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False),
            # one or two actors in a frame: 64 RoIs hold all positives; TF2's cost grows with them
            sampler=dict(
                type='mmdet.RandomSampler', num=64, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
            ),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=100, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        # the evaluator runs its own soft-NMS: keep low scores and overlaps up to 0.6
        rcnn=dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.6), max_per_img=20),
    ),
)
