import h5py
import numpy as np

from napari_dipr.io.arrays import load_array


def test_a_mask_of_the_same_size_is_not_taken_for_the_data(tmp_path):
    path = tmp_path / "ring.h5"
    with h5py.File(path, "w") as file:
        file["mask"] = np.ones((20, 20), np.int32)
        file["real"] = np.random.default_rng(0).random((20, 20))
    assert load_array(path).source["key"].endswith("real")
    assert load_array(path, prefer="mask").source["key"].endswith("mask")
