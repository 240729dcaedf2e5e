import numpy as np

from scripts.common.label_channels import UNDECIDED, LabelChannels

CHANNELS = LabelChannels({"spleen": 7, "liver": 3})
LABEL = np.array([0, 3, 7, 5], dtype=np.int16).reshape(2, 2, 1)  # 5 is of no class


def test_channels_follow_the_order_of_the_names_not_of_the_values():
    assert CHANNELS.values == [0, 7, 3] and CHANNELS.channel_of() == {0: 0, 7: 1, 3: 2}
    channels = CHANNELS.to_channels(LABEL)
    assert channels.dtype == np.uint8 and channels.ravel().tolist() == [0, 2, 1, 0]


def test_values_come_back_with_undecided_voxels_as_they_are():
    values = CHANNELS.to_values(np.array([0, 1, 2, UNDECIDED], dtype=np.uint8))
    assert values.dtype == np.uint8 and values.tolist() == [0, 7, 3, UNDECIDED]


def test_a_channel_of_no_class_is_undecided():
    assert CHANNELS.to_values(np.array([3], dtype=np.uint8)).tolist() == [UNDECIDED]


def test_one_mask_a_channel():
    masks = CHANNELS.one_hot(LABEL)
    assert masks.shape == (3, 2, 2, 1) and masks.dtype == bool
    assert masks.reshape(3, 4).tolist() == [
        [True, False, False, True],
        [False, False, True, False],
        [False, True, False, False],
    ]
