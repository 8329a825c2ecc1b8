# SlowFast-R50 as MMAction2 trains it on AVA (slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e).
_base_ = './slowonly_r50.py'
kinetics = 'https://download.openmmlab.com/mmaction/recognition/slowfast/'
kinetics += 'slowfast_r50_8x8x1_256e_kinetics400_rgb/'
kinetics += 'slowfast_r50_8x8x1_256e_kinetics400_rgb_20200716-73547d2b.pth'

pathway = dict(
    type='resnet3d',
    depth=50,
    pretrained=None,
    conv1_stride_t=1,
    pool1_stride_t=1,
    spatial_strides=(1, 2, 2, 1),
    norm_eval=True,
)
model = dict(
    init_cfg=dict(checkpoint=kinetics),
    backbone=dict(
        _delete_=True,
        type='mmaction.ResNet3dSlowFast',
        pretrained=None,
        resample_rate=4,  # the slow pathway sees every fourth frame
        speed_ratio=4,  # the fast one all
        channel_ratio=8,
        slow_pathway=dict(
            pathway,
            lateral=True,
            fusion_kernel=7,
            conv1_kernel=(1, 7, 7),
            dilations=(1, 1, 1, 1),
            inflate=(0, 0, 1, 1),
        ),
        fast_pathway=dict(pathway, lateral=False, base_channels=8, conv1_kernel=(5, 7, 7)),
    ),
    roi_head=dict(bbox_head=dict(in_channels=2304)),  # slow 2048, fast 256
)
# roi_head.shared_head of ACRN: relates every actor's features to the whole map before they are
# classified (slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e)
acrn = dict(type='mmdet.ACRNHead', in_channels=4608, out_channels=2304)  # 2 x 2304
