_base_ = './source_only.py'
train_dataloader = dict(dataset=dict(source=dict(background_share=0.25)))
