# The paper's networks from Kinetics-400 and ImageNet on frames of short side 112, for a CPU.
_base_ = './i3d_rpn_r50.py'
model = dict(
    backbone=dict(frozen_stages=2),
    clip_backbone=dict(frozen_end_point='Mixed_3c'),  # the largest maps: saves time
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 6])),  # 16 to 96 px of 112
    roi_head=dict(
        # an actor covers four cells of a map of 7 x 10; TF2's cost grows with cells and proposals
        bbox_roi_extractor=dict(roi_layer=dict(output_size=4, sampling_ratio=1)),
        bbox_head=dict(roi_feat_size=4),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=100), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=30)),
    adaptation=dict(num_proposals=8),  # for rows that switch modules on; a frame has one or two actors
)
