# For detectors on given proposals (tools/data/dump_proposals.py): the labelled source alone.
_base_ = ['../_base_/schedules/paper.py', './_data.py']
proposals = 'data/proposals/jhmdb_to_ucf101.npz'
# SlowFast's slow pathway takes every fourth frame. With 24 frames, the key frame (index 12) is one
# of them; 24 is the nearest such number to our detector's 20
clip = dict(type='SampleKeyFrameClip', clip_len=24, frame_interval=1)
source = dict(pipeline=[clip, *_base_.train_pipeline[1:]], proposals=proposals)
test = dict(pipeline=[clip, *_base_.test_pipeline[1:]], proposals=proposals)
train_dataloader = dict(dataset=dict(train_on='source', source=source))
val_dataloader = dict(batch_size=1, dataset=test)  # MMAction2's AVARoIHead takes no more at test
test_dataloader = val_dataloader
