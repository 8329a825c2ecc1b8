# For detectors on given proposals (tools/data/dump_proposals.py): the labelled source alone.
_base_ = ['../_base_/models/ava_style.py', './_data.py']
model = dict(roi_head=dict(bbox_head=dict(num_classes=len(_base_.classes))))
proposals = 'data/proposals/ucfsports_to_ucf101.npz'
source = dict(pipeline=[_base_.clip_24, *_base_.train_pipeline[1:]], proposals=proposals)
test = dict(pipeline=[_base_.clip_24, *_base_.test_pipeline[1:]], proposals=proposals)
train_dataloader = dict(dataset=dict(train_on='source', source=source))
val_dataloader = test_dataloader = dict(batch_size=1, dataset=test)  # AVARoIHead takes no more
