import numpy as np
import torch

from scripts.data.noise import RandNoised, seeded_noise


def test_noise_is_standard_normal_and_depends_on_the_random_state_alone():
    image = torch.zeros(1, 40, 40, 40)
    first, again, other = (seeded_noise(image, np.random.RandomState(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert abs(first.mean()) < 0.02 and abs(first.std() - 1) < 0.02
    assert first.dtype == image.dtype and first.device == image.device


def test_noise_is_drawn_from_nothing_to_the_largest_strength():
    image = torch.full((1, 20, 20, 20), 0.5)
    noised = RandNoised("image", prob=1.0, std=0.1).set_random_state(0)
    strengths = [float((noised({"image": image})["image"] - image).std()) for _ in range(200)]
    assert 0 <= min(strengths) < 0.01 and 0.09 < max(strengths) <= 0.102
    assert (image == 0.5).all(), "the cached image stays as it is"


def test_some_samples_get_none():
    image = torch.zeros(1, 4, 4, 4)
    noised = RandNoised("image", prob=0.3, std=0.1).set_random_state(0)
    left_alone = sum(torch.equal(noised({"image": image})["image"], image) for _ in range(1000))
    assert 650 < left_alone < 750
