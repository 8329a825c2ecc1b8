# SlowOnly-R50 as MMAction2 trains it on AVA (slowonly_kinetics400-pretrained-r50_8xb16-4x16x1-20e),
# on given proposals: it classifies a clip's features under each box and does not refine boxes.
kinetics = 'https://download.openmmlab.com/mmaction/v1.0/recognition/slowonly/'
kinetics += 'slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_kinetics400-rgb/'
kinetics += 'slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr-150e_'
kinetics += 'kinetics400-rgb_20220901-e7b65fad.pth'

model = dict(
    type='mmdet.FastRCNN',
    init_cfg=dict(type='Pretrained', checkpoint=kinetics),
    data_preprocessor=dict(
        type='mmaction.ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
    backbone=dict(
        type='mmaction.ResNet3dSlowOnly',
        depth=50,
        pretrained=None,
        pretrained2d=False,
        lateral=False,
        num_stages=4,
        conv1_kernel=(1, 7, 7),
        # every fourth frame of the clip that the other detectors see: the kernel is 1 frame long,
        # so this is the sampling of SlowFast's slow pathway
        conv1_stride_t=4,
        pool1_stride_t=1,
        spatial_strides=(1, 2, 2, 1),  # stride 16 in all
        # one clip per GPU is too few for batch statistics: keep Kinetics'
        norm_eval=True,
    ),
    # MMAction2 puts the classes of a RoI head into MMDetection's registry
    roi_head=dict(
        type='mmdet.AVARoIHead',
        bbox_roi_extractor=dict(
            type='mmdet.SingleRoIExtractor3D',
            roi_layer_type='RoIAlign',
            output_size=8,
            with_temporal_pool=True,
        ),
        bbox_head=dict(
            type='mmdet.BBoxHeadAVA',
            # One class per box: softmax, as in MMAction2's configs for MultiSports. A background
            # class would stay untrained (the loss leaves negatives out) but take part in the
            # softmax at test. Instead the metric multiplies by the proposal's own score.
            multilabel=False,
            background_class=False,
            in_channels=2048,
            num_classes=4,  # of the pair: len(_base_.classes)
            dropout_ratio=0.5,
            topk=None,  # its top-3 and top-5 need more classes
        ),
    ),
    train_cfg=dict(
        rcnn=dict(
            # MMAction2's 0.9 is for boxes of a person detector fine-tuned on AVA. An RPN's boxes
            # are looser, and training should see boxes like those of the test [derived]
            assigner=dict(
                type='mmdet.MaxIoUAssignerAVA', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5
            ),
            sampler=dict(
                type='mmdet.RandomSampler',
                num=32,
                pos_fraction=1,
                neg_pos_ub=0,  # the loss leaves negatives out: do not compute them
                add_gt_as_proposals=True,
            ),
            pos_weight=1.0,
        )
    ),
    test_cfg=dict(rcnn=None),
)
