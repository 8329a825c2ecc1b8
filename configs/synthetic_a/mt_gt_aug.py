_base_ = './mt.py'
model = dict(teacher=_base_.given_boxes)
train_dataloader = dict(dataset=dict(train_on='source_and_target_boxes'))
val_dataloader = test_dataloader = dict(dataset=dict(proposals='ground_truth'))
