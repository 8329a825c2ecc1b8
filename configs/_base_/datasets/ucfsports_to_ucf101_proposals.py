# The pair for detectors on given proposals: labelled source alone, proposals of our RPN,
#     python tools/data/dump_proposals.py configs/ucfsports_to_ucf101/source_only.py CHECKPOINT \
#         --out data/proposals/ucfsports_to_ucf101.npz
_base_ = './ucfsports_to_ucf101.py'

# SlowFast's slow pathway takes every fourth frame: of 24, the key frame (index 12) among them, and
# the nearest to the 20 of our detector
clip = dict(type='SampleKeyFrameClip', clip_len=24, frame_interval=1)
proposals = dict(type='LoadProposals', proposals='data/proposals/ucfsports_to_ucf101.npz')
pack = dict(type='PackAVAInputs', num_classes=len(_base_.classes))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='SeededDraws',
        dataset=dict(
            _base_.source_train,
            pipeline=[
                clip,
                dict(type='DecodeFrames'),
                dict(proposals, part='train'),
                _base_.resize,
                dict(type='mmaction.Flip', flip_ratio=0.5),
                pack,
            ],
        ),
    )
)
val_dataloader = dict(
    batch_size=1,  # MMAction2's AVARoIHead takes no more at test
    dataset=dict(
        pipeline=[
            clip,
            dict(type='DecodeFrames'),
            dict(proposals, part='test'),
            _base_.resize,
            pack,
        ]
    ),
)
test_dataloader = val_dataloader
