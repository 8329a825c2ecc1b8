_base_ = ['./_base.py', '../_base_/teacher.py']
model = dict(_delete_=True, type='TeacherStudentDetector', detector=_base_.model, teacher=_base_.teacher)
train_dataloader = _base_.weak_and_strong
