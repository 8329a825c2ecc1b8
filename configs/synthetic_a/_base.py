# What the rows share: the narrow detector, source and target in every batch.
_base_ = ['../_base_/models/i3d_rpn_r50_narrow.py', '../_base_/adaptation/modules.py', './_data.py']
model = dict(
    roi_head=dict(
        # an actor covers few cells of a map of 6 x 8; TF2's cost grows with cells and proposals
        bbox_roi_extractor=dict(roi_layer=dict(output_size=4)),
        bbox_head=dict(
            num_classes=len(_base_.classes),
            roi_feat_size=4,
            loss_bbox=dict(loss_weight=0.2),  # at 1 the direction of motion is learnt late
        ),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=16, pos_fraction=0.5))),  # one or two actors a frame
)
