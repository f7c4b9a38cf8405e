"What a method saves, against curves whose answers are known in closed form."
import math

import numpy as np
import pytest

from adaptive_dist.report.curves import curves, in_plain_steps
from adaptive_dist.report.savings import curve_of, first_reached, savings, with_savings
from adaptive_dist.report.tables import loss_table

GOAL = 2.
STEPS = np.arange(0, 1001, 100)

def run(method, speed, seed=0, each=1., prepared=0., seconds=(0., .01), steps=STEPS):
    "A row of results and rows of curves of a run whose loss falls by `speed` in 1,000 steps."
    place = {"target": "sea", "method": method, "seed": seed}
    costs = {"flops_per_step": each, "preparation_flops": prepared,
             "preparation_seconds": seconds[0]}
    points = [{**place, "step": int(step), "specific_loss": 3. - speed*step/1000,
               "seconds": seconds[0] + seconds[1]*step, "flops": prepared + each*step}
              for step in steps]
    return place | costs, points

def compared(*runs):
    "The records of several runs with their savings."
    return with_savings([record for record, _ in runs], [p for _, points in runs for p in points])


@pytest.mark.parametrize("speed", [1., 1.3, 2., 7.])
def test_a_straight_curve_saves_its_speed(speed):
    _, found = compared(run("uniform", 1.), run("dds", speed, each=3., seconds=(0., .04)))
    assert found["steps_to_uniform"] == pytest.approx(speed)
    assert found["work_to_uniform"] == pytest.approx(speed/3)
    assert found["seconds_to_uniform"] == pytest.approx(speed/4)


def test_preparation_is_paid_before_the_first_step():
    _, found = compared(run("uniform", 1.), run("cds", 2., each=1.5, prepared=400.,
                                                seconds=(7., .02)))
    assert found["steps_to_uniform"] == pytest.approx(2)
    assert found["work_to_uniform"] == pytest.approx(1000/(400 + 1.5*500))
    assert found["seconds_to_uniform"] == pytest.approx(10/(7 + .02*500))


def test_uniform_saves_nothing_and_a_slower_method_never_arrives():
    plain, slower = compared(run("uniform", 1.), run("dds", .9))
    names = ("steps_to_uniform", "work_to_uniform", "seconds_to_uniform")
    assert [plain[n] for n in names] == pytest.approx([1, 1, 1])
    assert [slower[n] for n in names] == [None]*3


def test_a_loss_that_was_reached_once_counts():
    curve = [4., 2.5, 3.5, 3.2, 1.5]
    assert first_reached(range(5), curve, 3.3) == pytest.approx(.7/1.5)
    assert first_reached(range(5), curve, 2.) == pytest.approx(3.5)  # from 2.5, not from 3.2
    assert first_reached(range(5), curve, 4.) == 0
    assert first_reached(range(5), [4., math.nan, 2., 3., 3.], 3.) == pytest.approx(1.5)
    assert first_reached([], [], 3.) is None


def test_finer_evaluations_of_a_convex_curve_converge_to_its_inverse():
    "The loss 1/t reaches 1/8 at t=8; chords lie above it, so the estimate comes from above."
    for h in (1., .1, .01):
        t = np.arange(1., 20., h) + .37*h
        found = first_reached(t, 1/t, 1/8)
        assert 0 <= found - 8 < h*h/8


def test_what_is_unknown_is_blank():
    record, points = run("soba", 2.)
    old = {name: record[name] for name in ("target", "method", "seed", "preparation_seconds")}
    uniform = curve_of(*run("uniform", 1.))
    found = savings(curve_of(old, points), uniform)
    assert found["steps_to_uniform"] == pytest.approx(2) and found["work_to_uniform"] is None
    assert found["seconds_to_uniform"] == pytest.approx(2)
    no_count = old | {"flops_per_step": 2.}  # prepared in no time: with no operations
    assert savings(curve_of(no_count, points), uniform)["work_to_uniform"] == pytest.approx(1)
    prepared = no_count | {"preparation_seconds": 3.}
    assert savings(curve_of(prepared, points), uniform)["work_to_uniform"] is None


def test_each_seed_and_setting_has_its_own_yardstick():
    longer = np.arange(0, 2001, 100)
    runs = [run("uniform", 1.), run("uniform", 1.2, seed=1), run("soba", 2.),
            run("soba", 2.4, seed=1), run("uniform+steps=2000", 1., steps=longer),
            run("soba+steps=2000", 1.25, steps=longer)]
    found = [r["steps_to_uniform"] for r in compared(*runs)]
    assert found == pytest.approx([1, 1, 2, 2, 1, 1.25])


def test_tables_lead_with_savings_and_say_how_many_seeds_have_one():
    records = compared(*(run("uniform", 1., seed=s) for s in range(3)), run("dds", 2., seed=0),
                       run("dds", .5, seed=1), run("dds", 4., seed=2))
    records = [r | {"specific_loss": 1., "generic_loss": 1.} for r in records]
    head, (uniform, dds) = loss_table(records, "sea")
    assert head[:5] == ["method", "× fewer steps", "× less work", "× less time", "specific loss"]
    assert uniform[1].startswith("1.00") and dds[1] == dds[2] == "in 2 of 3"
    bare = [{k: v for k, v in r.items() if not k.endswith("_to_uniform")} for r in records]
    assert loss_table(bare, "sea")[0][:2] == ["method", "specific loss"]


def test_the_figure_marks_where_uniform_is_met():
    runs = [run("uniform", 1., each=5.), run("cds", 2., each=10., prepared=1000.),
            run("uniform+steps=2000", 1., each=5., steps=np.arange(0, 2001, 100))]
    rows = [point for _, points in runs for point in points]
    work = curves(rows).axes[1]
    assert "work" in work.get_xlabel()
    dots = [line for line in work.get_lines() if line.get_marker() == "o"]
    goals = [line for line in work.get_lines() if line.get_linestyle() == "--"]
    assert [(*d.get_xdata(), *d.get_ydata()) for d in dots] == [pytest.approx((1200, GOAL))]
    assert [set(g.get_ydata()) for g in goals] == [{GOAL}]
    long = [r["work"] for r in in_plain_steps(rows) if r["method"] == "uniform+steps=2000"]
    assert long[-1] == 2000
    assert len(curves([{**r, "flops": None} for r in rows]).axes) == 2
