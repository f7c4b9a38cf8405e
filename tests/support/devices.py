"The first steps of runs on simulated devices: a function for tests, and the program that it starts in a process of its own."
import json
import os
import subprocess
import sys
from functools import partial

import jax

from adaptive_dist.cli import load_task
from adaptive_dist.config.arguments import Parser, add_settings, from_arguments
from adaptive_dist.train.distributed import place, place_state, row_sharding
from adaptive_dist.train.experiment import begin

def on_devices(count, task, variants, steps):
    "Of each variant of flags, in a process with so many simulated devices: `first_steps`."
    flags = f"--xla_force_host_platform_device_count={count} {os.environ['XLA_FLAGS']}"
    done = subprocess.run([sys.executable, __file__, task, json.dumps(variants), str(steps)], check=False, capture_output=True, text=True,
                          timeout=900, env={**os.environ, "XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def first_steps(module, flags, count):
    "Rows picked and losses of a few steps, losses on test data after them, and the bytes that the state takes on the first device."
    preset, parser = module.PRESETS["reduced"], Parser("steps")
    add_settings(parser, preset)
    config = from_arguments(preset, vars(parser.parse_args(flags)))
    experiment = module.build(config)
    if experiment.prepare: experiment = experiment._replace(generic=experiment.prepare(False)[0])
    state, step = begin(config.seed, experiment)
    state = place_state(experiment.mesh, state)
    placed = jax.tree.map(lambda x: x.sharding, state), None
    step, put = jax.jit(step, out_shardings=placed), partial(place, sharding=row_sharding(experiment.mesh))
    held = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(state._replace(key=())))
    picked, losses = [], []
    for t in range(count):
        generic, specific = (jax.tree.map(lambda x: x[0], reader.at(t, 1)) for reader in (experiment.generic, experiment.specific))
        state, info = step(state, put(generic), put(specific))
        picked.append(info.picked.tolist())
        losses.append(float(info.loss))
    return {"picked": picked, "losses": losses, "bytes": held, **experiment.test(state.params)}


if __name__ == "__main__":
    task, variants, steps = sys.argv[1:]
    print(json.dumps([first_steps(load_task(task), flags, int(steps)) for flags in json.loads(variants)]))
