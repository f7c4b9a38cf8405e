"""The first steps of runs on simulated devices.

A function for tests, and the program that it starts in a process of its own.
"""
import json
import os
import subprocess
import sys
from functools import partial

import jax

from adaptive_dist.config.arguments import Parser, parse_settings
from adaptive_dist.experiments.registry import load_task
from adaptive_dist.train.distributed import place, place_state, row_sharding
from adaptive_dist.train.experiment import begin

def on_devices(count, task, variants, steps):
    "Of each variant of flags, in a process with so many simulated devices: `first_steps`."
    flags = f"--xla_force_host_platform_device_count={count} {os.environ['XLA_FLAGS']}"
    command = [sys.executable, __file__, task, json.dumps(variants), str(steps)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900,
                          env={**os.environ, "XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def first_steps(task, flags, count):
    """Rows picked and losses of a few steps, and losses on test data after them.

    And the bytes that the state takes on the first device.
    """
    config, _ = parse_settings(Parser("steps"), task.presets["reduced"], flags)
    experiment = task.build(config)
    if experiment.prepare:
        experiment = experiment._replace(generic=experiment.prepare(False)[0])
    state, step = begin(config.seed, experiment)
    state = place_state(experiment.mesh, state)
    step = jax.jit(step, out_shardings=(jax.tree.map(lambda x: x.sharding, state), None))
    put = partial(place, sharding=row_sharding(experiment.mesh))
    leaves = jax.tree.leaves(state._replace(key=()))
    held = sum(x.addressable_shards[0].data.nbytes for x in leaves)
    readers, picked, losses = (experiment.generic, experiment.specific), [], []
    for t in range(count):
        batches = [put(jax.tree.map(lambda x: x[0], reader.at(t, 1))) for reader in readers]
        state, info = step(state, *batches)
        picked.append(info.picked.tolist())
        losses.append(float(info.loss))
    return {"picked": picked, "losses": losses, "bytes": held, **experiment.test(state.params)}


if __name__ == "__main__":
    task, variants, steps = sys.argv[1:]
    found = [first_steps(load_task(task), flags, int(steps)) for flags in json.loads(variants)]
    print(json.dumps(found))
