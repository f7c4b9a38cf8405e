"The same picks and losses whatever the number of devices, of processes, and of microbatches."
import os
import socket
import subprocess
import sys
from functools import partial

import devices
import pytest
from own_texts import OWN, TINY, finish, folder, result, start
from test_resume import after_line, killed

from adaptive_dist.train.checkpoint import saved_steps
from adaptive_dist.train.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("folder")
__all__ = ["folder"]  # the fixture: a working folder with a user's texts
SMALL = [*[flag for flag in TINY if flag != "--quiet"], *OWN,
         "--batch-size", "8", "--width", "64", "--mlp-width", "128"]


def on_devices(count, variants):
    runs = [[*SMALL, "--method", "soba", *v] for v in variants]
    return devices.on_devices(count, "lm", runs, steps=6)


def losses_of(out): return [record["loss"] for record in read_metrics(out)]


def check_same(found, expected):
    assert found["picked"] == expected["picked"]
    for name in ("losses", "specific_loss", "generic_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.slow
def test_picks_and_losses_do_not_depend_on_the_devices():
    meshes = "data=1", "data=2", "data=4", "data=8", "fsdp=8", "data=4,fsdp=2"
    alone, *found = on_devices(8, [["--mesh", mesh] for mesh in meshes])
    assert len({tuple(rows) for rows in alone["picked"]}) == 6
    assert all(len(rows) == 8 for rows in alone["picked"])
    for other in found:
        check_same(other, alone)
    # Parameters are split over fsdp, not over data.
    assert found[3]["bytes"] < .3*alone["bytes"] and found[2]["bytes"] == alone["bytes"]


@pytest.mark.slow
def test_every_method_is_split_over_devices():
    methods = [["uniform"], ["mixing"], ["classifier"], ["dds"], ["anograd"],
               ["cds", "--cds-steps", "2", "--cds-fine-tune-steps", "1"],
               ["online_cds", "--propose", "classifier", "--judge-width", "8", "--tune-steps", "2",
                "--renew-every", "3"]]
    meshes = "data=1", "data=2,fsdp=2"
    found = on_devices(4, [["--method", *m, "--mesh", mesh] for m in methods for mesh in meshes])
    for alone, split in zip(found[::2], found[1::2], strict=True):
        check_same(split, alone)


HELD_OUT = """
import numpy as np
from adaptive_dist.data.table import Rows
from adaptive_dist.train.assemble import token_mean
from adaptive_dist.train.distributed import make_mesh, place_state

def loss(params, columns):
    x = columns["tokens"].astype(np.float32)
    for _ in range(8): x = x @ params
    return x.sum(1)
params = place_state(make_mesh("fsdp=2"), np.full((512, 512), 1/512, np.float32))
rows = Rows(tokens=np.full((64*600, 512), 3, np.uint8))
print(token_mean(loss, "tokens", 64)(params, rows))
"""

def test_simulated_devices_do_not_wait_for_each_other_for_ever():
    # None of the flags that make compilation quick:
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", HELD_OUT], check=False, capture_output=True,
                          text=True, timeout=100, env=env)
    assert done.returncode == 0, done.stderr[:1_000]
    assert float(done.stdout) == pytest.approx(512*3)


@pytest.mark.slow
def test_two_processes_are_one_run():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["run", "lm", *SMALL, "--method", "soba", "--fine-tune-steps", "2",
             "--fine-tune-every", "1", "--quiet"]
    together = [*flags, "--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--out", "both"]
    both = [start(*together, "--process", str(k)) for k in range(2)]
    ended = [finish(process) for process in both]
    for status, _, err in ended:
        assert status == 0, err
    # The first one says what came out.
    assert "soba: specific loss" in ended[0][1] and "soba" not in ended[1][1]
    assert finish(start(*flags, "--out", "one"))[0] == 0
    for name in ("specific_loss", "generic_loss", "fine_tuned_specific_loss"):
        assert result("both")[name] == pytest.approx(result("one")[name], rel=1e-5)
    for mine, other in zip(read_metrics("both"), read_metrics("one"), strict=True):
        assert mine["step"] == other["step"] and mine["picked_share"] == other["picked_share"]
    assert losses_of("both") == pytest.approx(losses_of("one"), rel=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_another_mesh(monkeypatch):
    four = "--xla_force_host_platform_device_count=4"
    monkeypatch.setenv("XLA_FLAGS", f"{four} {os.environ['XLA_FLAGS']}")
    flags = ["run", "lm", *SMALL, "--method", "uniform", "--steps", "60", "--log-every", "5",
             "--checkpoint-every", "10", "--quiet"]
    assert finish(start(*flags, "--mesh", "data=4", "--out", "whole"))[0] == 0
    again = [*flags, "--out", "again"]
    assert killed([*again, "--mesh", "data=2,fsdp=2"], partial(after_line, 5, "again"))
    assert saved_steps("again/checkpoints")[-1] in (10, 20, 30, 40, 50)
    assert finish(start(*again, "--mesh", "fsdp=4"))[0] == 0
    assert losses_of("again") == pytest.approx(losses_of("whole"), rel=1e-4)


@pytest.mark.slow
def test_microbatches_change_nothing_but_the_memory():
    one, four = ["--mesh", "data=1"], ["--microbatches", "4"]
    whole, parted, both = on_devices(2, [one, [*one, *four], ["--mesh", "data=2", *four]])
    check_same(parted, whole)
    check_same(both, whole)
