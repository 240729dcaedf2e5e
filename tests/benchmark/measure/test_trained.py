import numpy as np

from bundle.benchmark.measure.trained import parts_in


def test_the_supervised_network_may_keep_as_many_parts_as_the_supports_true_label_map_has():
    label = np.zeros((20, 4, 4), dtype=np.uint8)
    label[0:5], label[8:11], label[13:14], label[16:18] = 6, 6, 6, 2
    assert parts_in(label, {"spleen": 2, "lungs": 6}) == {"lungs": 2}, "a fifth of the largest is no part"
    assert parts_in(label, {"spleen": 2}) == {}
