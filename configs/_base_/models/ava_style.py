# MMAction2's own detectors on given proposals: they classify a clip's features under each box and do not refine boxes.
# A row is `model = _base_.slowonly`, on the `_proposals.py` of its pair, which sets the number of classes.
model = dict(
    type='mmdet.FastRCNN',
    data_preprocessor=dict(
        type='mmaction.ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
    # MMAction2 puts the classes of a RoI head into MMDetection's registry
    roi_head=dict(
        type='mmdet.AVARoIHead',
        bbox_roi_extractor=dict(
            type='mmdet.SingleRoIExtractor3D', roi_layer_type='RoIAlign', output_size=8, with_temporal_pool=True
        ),
        bbox_head=dict(
            type='mmdet.BBoxHeadAVA',
            # One class per box: softmax, as in MMAction2's configs for MultiSports. A background class would stay
            # untrained (the loss leaves negatives out) but take part in the softmax at test. Instead the metric
            # multiplies by the proposal's own score.
            multilabel=False,
            background_class=False,
            dropout_ratio=0.5,
            topk=None,  # its top-3 and top-5 need more classes
        ),
    ),
    train_cfg=dict(
        rcnn=dict(
            # MMAction2's 0.9 is for boxes of a person detector fine-tuned on AVA. An RPN's boxes are looser, and
            # training should see boxes like those of the test [derived]
            assigner=dict(type='mmdet.MaxIoUAssignerAVA', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5),
            # neg_pos_ub=0: the loss leaves negatives out, so do not compute them
            sampler=dict(type='mmdet.RandomSampler', num=32, pos_fraction=1, neg_pos_ub=0, add_gt_as_proposals=True),
            pos_weight=1.0,
        )
    ),
    test_cfg=dict(rcnn=None),
)
# SlowFast's slow pathway takes every fourth frame. With 24 frames, the key frame (index 12) is one of them; 24 is the
# nearest such number to our detector's 20
clip_24 = dict(type='SampleKeyFrameClip', clip_len=24, frame_interval=1)

# SlowOnly-R50 as MMAction2 trains it on AVA (slowonly_kinetics400-pretrained-r50_8xb16-4x16x1-20e)
kinetics_slowonly = 'https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/'
kinetics_slowonly += 'slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb/'
kinetics_slowonly += 'slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb_20220901-e7b65fad.pth'
slowonly_r50 = dict(
    type='mmaction.ResNet3dSlowOnly',
    depth=50,
    pretrained=None,
    pretrained2d=False,
    lateral=False,
    num_stages=4,
    conv1_kernel=(1, 7, 7),
    # every fourth frame of the clip that the other detectors see: the kernel is 1 frame long, so this is the sampling
    # of SlowFast's slow pathway
    conv1_stride_t=4,
    pool1_stride_t=1,
    spatial_strides=(1, 2, 2, 1),  # stride 16 in all
    norm_eval=True,  # one clip per GPU is too few for batch statistics: keep Kinetics'
)
slowonly = dict(
    init_cfg=dict(type='Pretrained', checkpoint=kinetics_slowonly),
    backbone=slowonly_r50,
    roi_head=dict(bbox_head=dict(in_channels=2048)),
)

# SlowFast-R50 as MMAction2 trains it on AVA (slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e)
kinetics_slowfast = 'https://download.openmmlab.com/mmaction/recognition/slowfast/'
kinetics_slowfast += 'slowfast_r50_8x8x1_256e_kinetics400_rgb/'
kinetics_slowfast += 'slowfast_r50_8x8x1_256e_kinetics400_rgb_20200716-73547d2b.pth'
pathway = dict(type='resnet3d', depth=50, pretrained=None, conv1_stride_t=1, pool1_stride_t=1)
pathway.update(spatial_strides=(1, 2, 2, 1), norm_eval=True)
slow = dict(
    pathway, lateral=True, fusion_kernel=7, conv1_kernel=(1, 7, 7), dilations=(1, 1, 1, 1), inflate=(0, 0, 1, 1)
)
fast = dict(pathway, lateral=False, base_channels=8, conv1_kernel=(5, 7, 7))
slowfast_r50 = dict(
    type='mmaction.ResNet3dSlowFast',
    pretrained=None,
    resample_rate=4,  # the slow pathway sees every fourth frame
    speed_ratio=4,  # the fast one all
    channel_ratio=8,
    slow_pathway=slow,
    fast_pathway=fast,
)
slowfast = dict(
    init_cfg=dict(type='Pretrained', checkpoint=kinetics_slowfast),
    backbone=slowfast_r50,
    roi_head=dict(bbox_head=dict(in_channels=2304)),  # slow 2048, fast 256
)
# roi_head.shared_head of ACRN: relates every actor's features to the whole map before they are classified
# (slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e)
acrn = dict(type='mmdet.ACRNHead', in_channels=4608, out_channels=2304)  # 2 x 2304

# The smaller ones see 4 of 8 frames.
half = dict(slowfast_r50, resample_rate=2, speed_ratio=2)

# For a CPU: ImageNet's ResNet-50 (tools/get_weights.py), inflated by MMAction2, in place of Kinetics' weights.
# SlowFast's fast pathway has no such weights and starts from random ones.
imagenet = dict(pretrained='data/weights/resnet50_imagenet.pth', pretrained2d=True, style='caffe', frozen_stages=1)
# as in the training of the original ResNet-50: BGR (to_rgb swaps), means only
small = dict(init_cfg=None, data_preprocessor=dict(mean=[103.939, 116.779, 123.68], std=[1.0, 1.0, 1.0], to_rgb=True))
slowonly_112px = dict(
    small,
    backbone=dict(slowonly_r50, conv1_stride_t=2) | imagenet,
    roi_head=dict(slowonly['roi_head'], bbox_roi_extractor=dict(output_size=4)),
)
slowfast_112px = dict(
    small,
    backbone=dict(half, slow_pathway=slow | imagenet, fast_pathway=dict(fast, norm_eval=False)),
    roi_head=dict(slowfast['roi_head'], bbox_roi_extractor=dict(output_size=4)),
)

# For a laptop: a quarter of the width, from random weights, batch norm on batch statistics.
slow_narrow = dict(slow, base_channels=16, norm_eval=False)
fast_narrow = dict(fast, base_channels=2, norm_eval=False)  # an eighth of the slow one's, as in MMAction2
slowonly_narrow = dict(
    init_cfg=None,
    backbone=dict(slowonly_r50, base_channels=16, conv1_stride_t=2, norm_eval=False),
    roi_head=dict(bbox_head=dict(in_channels=512)),
)
slowfast_narrow = dict(
    init_cfg=None,
    backbone=dict(half, slow_pathway=slow_narrow, fast_pathway=fast_narrow),
    roi_head=dict(bbox_head=dict(in_channels=576)),  # slow 512, fast 64
)
acrn_narrow = dict(acrn, in_channels=1152, out_channels=576)  # 2 x 576
