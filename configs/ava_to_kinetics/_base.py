# What the rows share: the paper's detector with a sigmoid per class.
_base_ = ['../_base_/models/i3d_rpn_r50.py', '../_base_/adaptation/modules.py', './_data.py']
model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='MultiLabelBBoxHead',
            num_classes=len(_base_.classes),
            loss_cls=dict(_delete_=True, type='MultiLabelCrossEntropy'),
        )
    ),
    train_cfg=dict(rcnn=dict(assigner=dict(type='MultiLabelAssigner'))),
    # every box may come once per class
    test_cfg=dict(rcnn=dict(score_thr=0.002, max_per_img=100)),
)
