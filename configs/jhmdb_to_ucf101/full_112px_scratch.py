# All three modules, the paper's network from random weights, in small: runs on a CPU.
_base_ = [
    '../_base_/models/i3d_rpn_r50_scratch.py',
    '../_base_/datasets/jhmdb_to_ucf101_112px.py',
    '../_base_/schedules/adamw_700_bf16.py',
    '../_base_/adaptation/modules.py',
    '../_base_/default_runtime.py',
]
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(num_classes=3),
    ),
    # TF2's cost goes with the proposals
    train_cfg=dict(rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=30)),
    adaptation=dict(
        num_proposals=16,
        **{name: _base_[name] for name in ('spatial', 'temporal_image', 'temporal_instance')},
    ),
)
