from napari_dipr.benchmarks.kills import kills


def test_killed_runs_leave_what_an_uninterrupted_one_had():
    found = kills(3, interval=0.2, side=24, recipe="alm*1000000")
    assert found["damaged"] == found["unlike"] == found["unlike_later"] == 0
    assert found["kills"] == len(found["rows"]) == 3
    kept = [row for row in found["rows"] if row["iteration"] is not None]
    assert len(kept) == 3 - found["before_the_first"]
    assert all(row["same"] and row["same_later"] and row["iteration"] <= row["reached"] for row in kept)
    assert all(0 <= row["lost_finished"] <= row["lost"] for row in found["rows"])
    assert kept
