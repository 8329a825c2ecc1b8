_base_ = './slowfast.py'
train_dataloader = dict(dataset=dict(source=dict(proposals='ground_truth')))
val_dataloader = test_dataloader = dict(dataset=dict(proposals='ground_truth'))
