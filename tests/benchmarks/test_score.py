import pytest
import torch

from napari_dipr.benchmarks.score import Outcome, errors_of, score, summary

WINDOW = torch.ones(8, 8, dtype=torch.bool)


@pytest.fixture
def truth():
    x = torch.zeros(3, 8, 8, dtype=torch.complex64)
    x[0, 1:3, 1:4], x[1, 2:5, 2:4], x[2, 1:5, 1:5] = 1, 2j, 1
    x[0, 1, 1] = 3  # none is its own twin
    x[1, 2, 2], x[2, 1, 1], x[2, 4, 4] = 5, 0.05, 4
    return x


def test_a_true_support_of_ones_own_takes_the_place_of_where_the_truth_is_not_zero(truth):
    bright = truth.abs() > 0.1
    outcome = Outcome(truth, bright, 0)
    assert errors_of(outcome, truth, WINDOW, bright)["support_iou"] == [1, 1, 1]
    shares = errors_of(outcome, truth, WINDOW)["support_iou"]
    assert shares[:2] == [1, 1]
    assert shares[2] == pytest.approx(15 / 16)


def test_the_order_of_batches_is_that_of_the_truth(truth):
    whole = score([Outcome(truth, truth != 0, 0)], truth, WINDOW, truth != 0)
    parts = [Outcome(truth[:2], truth[:2] != 0, 0), Outcome(truth[2:], truth[2:] != 0, 0)]
    assert score(parts, truth, WINDOW, truth != 0) == pytest.approx(whole)
    assert whole["nmse_mean"] < 1e-6
    assert score(parts[::-1], truth[[1, 2, 0]], WINDOW)["nmse_mean"] > 0.1


def test_the_summary_is_over_all_objects_and_not_over_batches():
    batches = [
        {"nmse": [0.0, 0.004, 0.5], "nmse_full": [0.1, 0.1, 0.7], "support_iou": [1.0, 0.5, 0.0]},
        {"nmse": [0.02], "nmse_full": [0.02], "support_iou": [0.9]},
    ]
    assert summary(batches) == pytest.approx(
        {"nmse_mean": 0.131, "nmse_median": 0.012, "nmse_full_mean": 0.23, "solved": 0.5, "support_iou": 0.6}
    )
    assert summary([{**batch, "support_iou": None} for batch in batches])["support_iou"] is None
