_base_ = ['./_base.py', '../_base_/teacher.py']
model = dict(_delete_=True, type='TeacherStudentDetector', detector=_base_.model, teacher=_base_.teacher)
train_dataloader = dict(
    dataset=dict(source=dict(pipeline=_base_.strong_pipeline), target=dict(pipeline=_base_.two_views))
)
