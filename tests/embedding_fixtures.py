"""Embeddings for the tests of mode `default`: an oracle that knows every place, and an untrained network on disk."""

import numpy as np
import torch

from scripts.embedding.dense_embedding import DenseEmbedding
from scripts.networks.anatomy_net import AnatomyNet
from scripts.networks.model_files import write_model
from scripts.registration.body import body_of
from scripts.registration.robust_affine import AffineMap
from tests.prnet_fixtures import CLASSES, phantom
from tests.prnet_fixtures import SPACING_MM as PHANTOM_SPACING_MM

SPACING_MM = np.array([4.0, 4.0, 4.0])
SHAPE = (48, 40, 32)
CELLS = (24, 20, 16)
SHIFT_MM = np.array([8.0, 0.0, -16.0])
CENTRES_MM = np.array([[60.0, 80.0, 70.0], [130.0, 80.0, 60.0]])


def oracle(to_anatomy, channels=48, seed=0):
    """A body whose cells hold waves of the anatomical place `to_anatomy(place_mm)`: near places, near vectors."""
    generator = np.random.default_rng(seed)
    waves = generator.normal(0, 1 / 25, (3, channels // 2))
    levels = {}
    for level, stride in (("fine", 2), ("coarse", 8)):
        axes = [np.arange(size // stride) * stride + (stride - 1) / 2 for size in SHAPE]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        phase = to_anatomy(voxels * SPACING_MM) @ waves
        cells = np.concatenate([np.cos(phase), np.sin(phase)], axis=-1) / np.sqrt(channels / 2)
        levels[level] = torch.tensor(np.moveaxis(cells, -1, 0), dtype=torch.float32)
    return body_of(DenseEmbedding(levels, tuple(SPACING_MM.tolist())), torch.ones(SHAPE))


def shift_map(shift_mm, error_mm=(0.0, 0.0, 0.0)):
    """An affine map that only shifts, and errs."""
    return AffineMap(np.eye(3), np.asarray(shift_mm) + error_mm)


def balls(centres_mm, radius_mm=30.0):
    """(X, Y, Z) label map with one ball per centre, values 3, 5, ..."""
    voxels = np.stack(np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij"), axis=-1) * SPACING_MM
    label = np.zeros(SHAPE, dtype=np.uint8)
    for value, centre in zip((3, 5), centres_mm, strict=True):
        label[np.linalg.norm(voxels - centre, axis=-1) <= radius_mm] = value
    return label


def shares(centres_mm):
    """(3, X, Y, Z) float32 of background and the balls."""
    label = balls(centres_mm)
    return np.stack([label == 0, label == 3, label == 5]).astype(np.float32)


def dice(first, second):
    """Of two masks that are not empty."""
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def write_embedding(folder, spacing_mm=PHANTOM_SPACING_MM):
    """An untrained AnatomyNet with its card; returns the folder."""
    torch.manual_seed(0)
    card = {"widths": [4, 8, 8, 8, 8], "channels": 16, "window_size": [32, 32, 32], "spacing_mm": list(spacing_mm)}
    write_model(folder, AnatomyNet(card["widths"], 16, 16), card)
    return folder


def organs():
    """The organs of `prnet_fixtures.phantom` on its own grid."""
    hu = phantom(0)
    label = np.zeros(hu.shape, dtype=np.uint8)
    label[hu == 120], label[hu == 190] = CLASSES["spleen"], CLASSES["left_kidney"]
    return label
