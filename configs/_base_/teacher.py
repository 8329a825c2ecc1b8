# A mean teacher around a row's detector. A row lists this file in `_base_` beside its own and says
#     model = dict(_delete_=True, type='TeacherStudentDetector', detector=_base_.model, teacher=_base_.teacher)
#     train_dataloader = dict(
#         dataset=dict(source=dict(pipeline=_base_.strong_pipeline), target=dict(pipeline=_base_.two_views))
#     )
# `two_views` is of the pair's data: the teacher sees the target before AugmentClip, the student after it.
teacher = dict(
    weight=1.0,  # of the losses on the target; 0: not computed, the row without teacher to the last bit
    momentum=0.01,  # the teacher is a mean over some 100 iterations [derived]: a training here has 1200
    burn_in=300,  # iterations with the source alone; the teacher is a copy of the student
    ramp=100,  # iterations in which the weight then rises
    thresholds=(0.3, 0.8),  # >= 0.8: a label; between: neither label nor background
)
# moves the teacher after every iteration
custom_hooks = [dict(type='BurnInTeacherHook')]
# for rows *_gt_aug, whose target has boxes: no box is background, and those of at least 0.9 are learnt, as in DA-AIM
given_boxes = dict(given_boxes=True, thresholds=(0.0, 0.9))
