# For detectors on given proposals (tools/data/dump_proposals.py): the labelled source alone.
_base_ = ['../_base_/models/ava_style.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
proposals = 'data/proposals/synthetic_a.npz'
train_dataloader = dict(dataset=dict(train_on='source', source=dict(proposals=proposals)))
val_dataloader = test_dataloader = dict(batch_size=1, dataset=dict(proposals=proposals))  # AVARoIHead takes no more
