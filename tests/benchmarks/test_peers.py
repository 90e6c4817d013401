import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_dipr.benchmarks import peers as benchmark
from napari_dipr.benchmarks import programs
from napari_dipr.benchmarks.cli import app
from napari_dipr.benchmarks.peers import CASES, PEERS, SAME, Case, Peer, peers, time_case
from napari_dipr.benchmarks.programs import UnsupportedError, make_setup, textbook
from napari_dipr.errors import DiprError

TINY = Case((16, 16))


@dataclass
class Fake:
    """A program whose times are given: the first is the trial's that sets how long a turn is."""

    times: list[float] = field(default_factory=lambda: [1.0])
    object: np.ndarray | None = None
    setting: str = "fake"
    turns: list[int] = field(default_factory=list)

    def first(self):
        return self.object

    def seconds(self, iterations):
        self.turns.append(iterations)
        return self.times[(len(self.turns) - 1) % len(self.times)]


def fake(*times, wrong=False):
    return Peer("no-such-package", lambda setup: [Fake(list(times), textbook(setup) * (2 if wrong else 1))])


@pytest.fixture
def ours(monkeypatch):
    program = Fake([0.001, 0.001, 0.002, 0.004])  # the first is the trial's
    monkeypatch.setattr(programs, "ours", lambda setup: [program])

    def at(setup):
        program.object = textbook(setup)
        return program

    return at


def refuse(setup):
    raise UnsupportedError("too small for it")


def break_down(setup):
    raise AttributeError("no such function")


def test_ratios_are_paired_by_round(ours):
    setup = make_setup((16, 16), 1, threads=1)
    ours(setup)
    others = {"slow": fake(1.0, 0.03, 0.01, 0.02), "fast": fake(1.0, 0.004, 0.004, 0.004)}
    case = time_case(TINY, setup, others, rounds=3)
    assert case["ours_ms"] == pytest.approx(2)
    assert case["peers"]["slow"]["iteration_ms"] == pytest.approx(20)
    assert case["peers"]["slow"]["ratio"] == pytest.approx(5)  # of 30, 5 and 5: not the medians' ratio, 10
    assert case["fastest_peer"] == "fast"
    assert case["speedup"] == case["peers"]["fast"]["ratio"] == pytest.approx(2)  # of 4, 2 and 1


def test_who_does_not_take_part_says_why():
    others = {
        "wrong": fake(1.0, wrong=True),
        "refuses": Peer("no-such-package", refuse),
        "breaks": Peer("no-such-package", break_down),
    }
    result = peers([TINY], others, rounds=1, threads=1)
    case = result["cases"][0]
    assert all(peer["iteration_ms"] is None and peer["ratio"] is None for peer in case["peers"].values())
    assert case["peers"]["refuses"]["reason"] == "too small for it"
    assert "no such function" in case["peers"]["breaks"]["reason"]
    assert "another one" in case["peers"]["wrong"]["reason"]
    assert case["fastest_peer"] is None
    assert case["speedup"] is None
    assert result["versions"]["no-such-package"] is None


def test_the_fastest_right_setting_is_taken():
    def prepare(setup):
        right = textbook(setup)
        return [Fake([3.0], right, "slow"), Fake([1.0], 2 * right, "wrong"), Fake([2.0], right, "fast")]

    case = peers([TINY], {"fake": Peer("no-such-package", prepare)}, rounds=1, threads=1)["cases"][0]
    assert case["peers"]["fake"]["setting"] == "fast"
    assert case["peers"]["fake"]["iteration_ms"] == 2000


@pytest.mark.parametrize("case", [TINY, Case((8, 8, 8)), Case((16, 16), batch=3)], ids=str)
def test_our_iteration_is_the_textbooks(case):
    result = peers([case], {"fake": fake(1.0)}, rounds=2, threads=1)
    assert set(result) == {"cases", "threads", "rounds", "versions"}
    assert (result["threads"], result["rounds"]) == (1, 2)
    assert result["versions"]["torch"]
    found = result["cases"][0]
    assert (found["name"], found["shape"], found["batch"]) == (str(case), list(case.grid), case.batch)
    assert found["dtype"] == "complex64"
    assert found["ours_ms"] > 0
    assert found["ours_difference"] < SAME
    assert json.dumps(result, allow_nan=False)


def test_a_start_outlives_a_turn():
    # A step may take the tensors of the state it is given.
    program = programs.ours(make_setup((16, 16), 1, threads=1))[0]
    before = program.first().copy()
    program.seconds(3)
    np.testing.assert_array_equal(program.first(), before)


@pytest.mark.parametrize(
    ("name", "module", "grid", "batch"),
    [
        ("cohere", "cohere_core", (32, 32), 1),
        ("cohere", "cohere_core", (16, 16, 16), 1),
        ("solvephase", "solvephase", (32, 32), 1),
        ("solvephase", "solvephase", (32, 32), 3),
        ("cdi-st", "cdi_st", (16, 16, 16), 1),
        ("qoraphase", "qoraphase", (32, 32), 3),
        ("qoraphase", "qoraphase", (16, 16, 16), 1),
    ],
)
def test_a_peer_computes_the_same(name, module, grid, batch):
    pytest.importorskip(module)
    setup = make_setup(grid, batch, threads=1)
    expected = textbook(setup)
    for program in PEERS[name].prepare(setup):
        for _ in range(2):  # a turn in between leaves no trace
            assert np.linalg.norm(program.first() - expected) < SAME * np.linalg.norm(expected)
            assert program.seconds(2) > 0


def test_peers_are_told_what_they_cannot_solve():
    for name, grid, batch in (
        ("cohere", (16, 16), 2),
        ("solvephase", (8, 8, 8), 1),
        ("cdi-st", (16, 16), 1),
        ("cdi-st", (8, 8, 4), 1),
    ):
        # Where it is not installed, that is the reason.
        with pytest.raises(UnsupportedError, match=r"it solves|not installed|cannot be imported"):
            PEERS[name].prepare(make_setup(grid, batch, threads=1))


def test_threads_are_given_back():
    before = torch.get_num_threads()
    peers([TINY], {}, rounds=1, threads=before + 1)
    assert torch.get_num_threads() == before
    with pytest.raises(DiprError, match="at least one"):
        peers([TINY], {}, rounds=0)


def test_sizes_have_names():
    assert [str(case) for case in CASES] == ["256²", "512²", "1024²", "2048²", "128³", "256 × 72²"]
    assert str(Case((8, 16))) == "8 × 16"


def test_the_command_prints_and_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "CASES", (TINY, Case((8, 8, 8))))
    file = tmp_path / "peers.json"
    done = CliRunner().invoke(app, ["peers", "--rounds", "1", "--threads", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "16²" in done.stdout
    written = json.loads(file.read_text())
    assert [case["name"] for case in written["cases"]] == ["16²", "8³"]
    assert set(written["cases"][0]["peers"]) == set(PEERS)
    for case in written["cases"]:
        for peer in case["peers"].values():
            assert ("reason" in peer) == (peer["iteration_ms"] is None)
