"""Compiled loops and torch: the same bits, and something that sweeps whatever becomes of the machine code."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
import torch

from scripts.pseudo_labels.geodesic_distance import geodesic_distance
from scripts.pseudo_labels.sweeps import compiled_sweep as module
from scripts.pseudo_labels.sweeps.axis_sweeps import CompiledSweeps, TorchSweeps, axis_sweeps, framed_image

SPACING_MM = (1.0, 2.0, 3.0)
THREADS = "scripts.common.sharing.threads.allowed_threads"
compiled_anew = module.compiled_sweep.__wrapped__  # not the one that this process has


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "oneshot_ct"


def noise(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float32))


def trial():
    """(planes, K, rows, columns) distances, an image of two channels and steps, as the kernel takes them."""
    distance = np.full((3, 2, 5, 6), np.inf, np.float32)
    distance[0, 0, 2, 3] = distance[2, 1, 1, 1] = 0
    weights = np.float32(0.75), np.float32(0.25), np.float32(1e-5)
    return distance, noise((2, 3, 5, 6)).numpy(), noise((3, 3), 1).numpy(), *weights


def swept(kernel):
    distance, *others = trial()
    for up in (True, False):
        kernel(distance, *others, up)
    return distance


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_compiled_loops_and_torch_agree_to_the_bit(lam, monkeypatch):
    image, seeds = noise((2, 9, 8, 7)), noise((3, 9, 8, 7), 1) > 0.97
    by_loops = geodesic_distance(image, seeds, SPACING_MM, lam=lam)
    monkeypatch.setattr("scripts.pseudo_labels.sweeps.axis_sweeps.compiled_sweep", lambda: None)
    assert torch.equal(by_loops, geodesic_distance(image, seeds, SPACING_MM, lam=lam))


def test_the_loops_are_the_python_that_they_are_compiled_from(cache):
    np.testing.assert_array_equal(swept(compiled_anew()), swept(module.sweep_planes))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_loops_sweep_every_axis_in_one_layout_where_numba_is(axis, monkeypatch):
    framed = framed_image(noise((2, 3, 4, 5)), SPACING_MM, axis, 1.0)
    assert framed.values.is_contiguous() and isinstance(axis_sweeps(framed, 1, 0), CompiledSweeps)
    monkeypatch.setattr("scripts.pseudo_labels.sweeps.axis_sweeps.compiled_sweep", lambda: None)
    assert isinstance(axis_sweeps(framed, 1, 0), TorchSweeps)


def test_machine_code_is_kept_in_the_users_cache_and_read_again(cache):
    compiled_anew()
    kept = {file: file.stat().st_mtime_ns for file in cache.rglob("*.nb?")}
    assert {file.suffix for file in kept} == {".nbi", ".nbc"}
    np.testing.assert_array_equal(swept(compiled_anew()), swept(module.sweep_planes))
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.nb?")} == kept


def test_damaged_machine_code_is_not_read(cache):
    compiled_anew()
    for file in cache.rglob("*.nb?"):
        file.write_bytes(b"")
    np.testing.assert_array_equal(swept(compiled_anew()), swept(module.sweep_planes))


def test_without_a_folder_for_machine_code_loops_are_compiled_all_the_same(cache):
    cache.parent.mkdir()
    cache.write_text("no folder")
    np.testing.assert_array_equal(swept(compiled_anew()), swept(module.sweep_planes))


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_torch_sweeps_where_numba_cannot_be_loaded(error, monkeypatch):
    real = builtins.__import__

    def importing(name, *arguments, **options):
        if name == "numba":
            raise error("no such library")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(builtins, "__import__", importing)
    assert compiled_anew() is None


@pytest.mark.parametrize("threads", [1, 2])
def test_sweeps_in_inference_mode_are_those_without(threads, monkeypatch):
    monkeypatch.setattr(THREADS, lambda: threads)
    image, seeds = noise((6, 5, 4)), noise((2, 6, 5, 4), 1) > 0.9
    expected = geodesic_distance(image, seeds, SPACING_MM)
    with torch.inference_mode():
        assert torch.equal(geodesic_distance(image, seeds, SPACING_MM), expected)
