import numpy as np
import pytest

from app.engine.noise import noise_map


def test_the_noise_of_a_seed_never_changes() -> None:
    # A served texture must stay the same across machines, versions of NumPy and of this package.
    noise = noise_map(7, 2, 2, local=1, global_=1, variation=0.5)
    local = [[0.7441468, -0.40926933], [-0.1598047, -0.18921554]]
    assert np.array_equal(noise[0], np.array(local, np.float32))
    assert np.unique(noise[1]).tolist() == [np.float32(-0.11149484)]


@pytest.mark.parametrize("tileable", [False, True])
def test_noise_has_its_shape_type_and_range(tileable: bool) -> None:
    noise = noise_map(
        3, 40, 30, local=4, global_=2, waves=[(0.1, 0, 0)], margin=4, tileable=tileable
    )
    assert noise.shape == (7, 44, 34)
    assert noise.dtype == np.float32
    assert -1 <= noise.min() < -0.99
    assert 0.99 < noise.max() <= 1
    assert abs(noise[:4].mean()) < 0.02
    assert noise[:4].std() == pytest.approx(3**-0.5, abs=0.02)


def test_another_seed_draws_other_local_noise_and_the_same_global_noise() -> None:
    first, second = (noise_map(seed, 8, 8, local=2, global_=3) for seed in (1, 2**32 - 1))
    assert abs(np.corrcoef(first[:2].ravel(), second[:2].ravel())[0, 1]) < 0.3
    assert np.array_equal(first[2:], second[2:])


def test_global_noise_is_the_same_in_every_cell_and_interpolated_between_whole_numbers() -> None:
    def vector(variation: float) -> np.ndarray:
        noise = noise_map(0, 3, 4, local=1, global_=5, variation=variation)[1:]
        assert (noise == noise[:, :1, :1]).all()
        return noise[:, 0, 0]

    assert np.abs(vector(3) - vector(4)).mean() > 0.1
    assert np.allclose(vector(3.25), 0.75 * vector(3) + 0.25 * vector(4), atol=1e-6)
    assert np.abs(vector(100)).max() <= 1


def test_a_wave_has_its_frequency_and_phase() -> None:
    (wave,) = noise_map(0, 9, 12, local=0, waves=[(0.25, 1 / 3, 0.5)])
    y, x = np.indices((9, 12))
    assert np.allclose(wave, np.sin(2 * np.pi * (y / 4 + x / 3) + 0.5), atol=1e-6)


def test_tileable_noise_repeats_in_the_margin_with_the_period_of_the_picture() -> None:
    waves = [(0.13, 0.21, 1.0), (0.02, -0.4, 0.0)]
    noise = noise_map(5, 3, 6, local=2, global_=1, waves=waves, margin=4, tileable=True)
    assert noise.shape == (5, 7, 10)
    assert np.array_equal(noise[:, 3:], noise[:, :4])  # longer than the picture: it wraps twice
    assert np.array_equal(noise[:, :, 6:], noise[:, :, :4])


def test_the_waves_of_tileable_noise_run_on_across_its_edge() -> None:
    (wave,) = noise_map(0, 8, 10, local=0, waves=[(0.13, 0.21, 1.0)], margin=5, tileable=True)
    y, x = np.indices((13, 15))
    assert np.allclose(wave, np.sin(2 * np.pi * (y / 8 + x / 5) + 1), atol=1e-5)
