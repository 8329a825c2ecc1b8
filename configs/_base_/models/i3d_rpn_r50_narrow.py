# A quarter of the paper's width, from random weights: the same classes, for a laptop.
_base_ = './i3d_rpn_r50_scratch.py'
model = dict(
    adaptation=dict(num_proposals=16),  # for rows that switch modules on
    backbone=dict(base_channels=16, stem_channels=16),  # C4: 256 channels
    clip_backbone=dict(width=0.25),  # Mixed_4f: 208 channels
    rpn_head=dict(in_channels=256, feat_channels=128),
    roi_head=dict(
        # an actor covers few cells of a map of 6 x 8; TF2's cost grows with cells and proposals
        bbox_roi_extractor=dict(out_channels=208, roi_layer=dict(output_size=4, sampling_ratio=1)),
        shared_head=dict(width=0.25),  # Mixed_5c: 256 channels
        # at a weight of 1 the direction of motion is learnt late
        bbox_head=dict(in_channels=256, roi_feat_size=4, loss_bbox=dict(loss_weight=0.2)),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=dict(sampler=dict(num=16, pos_fraction=0.5)),  # one or two actors a frame
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=30)),
)
