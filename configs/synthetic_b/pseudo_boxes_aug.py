_base_ = './pseudo_aug.py'
train_dataloader = dict(dataset=dict(target=dict(ann_file='target_pseudo_boxes.json')))
