"""A new user's walk, timed: a fresh clone, the commands of README.md, and nothing else.

    python tools/walk.py FOLDER [--out nbs/experiments/results/walk/walk.json]

FOLDER must not exist. Nothing is taken from caches of earlier runs: packages and tokens go to new
folders. The text of one's own is the language reference that comes with Python, a paragraph a
document. `load` is the mean number of processes that wanted a core in the last quarter of an hour,
the walk's own among them.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = r"""from pydoc_data.topics import topics; print(*topics.values(), sep="\n\n")"""
DEMO = "make demo"
OWN = ".venv/bin/adaptive-dist run lm --specific notes.txt --steps 500 --out runs/notes"
MARK = ".venv/bin/adaptive-dist demo"  # make prints it when the environment is there

def timed(command: str, folder: Path, env: dict[str, str]) -> tuple[float, float | None]:
    "Seconds that a shell command takes, and those until it prints a line that begins with `MARK`."
    print(f"$ {command}", flush=True)
    start, marked = time.monotonic(), None
    with subprocess.Popen(command, shell=True, cwd=folder, env=env, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(MARK):
                marked = time.monotonic() - start
    if process.returncode: raise SystemExit(f"{command!r} ended with status {process.returncode}")
    return time.monotonic() - start, marked

def output_of(*command: str, folder: Path) -> str:
    "What a command prints, run in a folder."
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout

def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT/"nbs/experiments/results/walk/walk.json")
    args = parser.parse_args()
    readme = (ROOT/"README.md").read_text(encoding="utf-8")
    missing = [command for command in (DEMO, OWN) if command not in readme]
    if missing:
        raise SystemExit(f"README.md does not have {missing}")
    folder = args.folder.resolve()
    new = folder.with_name(f"{folder.name}-caches")
    env = {**os.environ, "PIP_NO_CACHE_DIR": "1", "XDG_CACHE_HOME": str(new),
           "ADAPTIVE_DIST_CACHE": str(new/"tokens")}
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "JAX_COMPILATION_CACHE_DIR"):
        env.pop(name, None)
    start, seconds = time.monotonic(), {}
    seconds["clone"], _ = timed(f"git clone --quiet {ROOT} {folder}", ROOT, env)
    commit = output_of("git", "rev-parse", "--short", "HEAD", folder=folder).strip()
    demo, installed = timed(DEMO, folder, env)
    assert installed, f"no line began with {MARK}"
    seconds |= {"install": installed, "demo": demo - installed}
    (folder/"notes.txt").write_text(output_of(sys.executable, "-c", TEXT, folder=folder))
    seconds["own text"], _ = timed(OWN, folder, env)
    result = json.loads((folder/"runs/notes/result.json").read_text())
    numbers = ("specific_loss", "fine_tuned_specific_loss", "steps_per_second")
    own = {"bytes": (folder/"notes.txt").stat().st_size, **{name: result[name] for name in numbers}}
    found = {"commit": commit, "commands": {"demo": DEMO, "own text": OWN},
             "seconds": {name: round(s) for name, s in seconds.items()},
             "total": round(time.monotonic() - start), "load": round(os.getloadavg()[2], 1),
             "device": result["device"], "python": platform.python_version(), "own text": own}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found["seconds"]), f"written to {args.out}", sep="\n")
    return 0

if __name__ == "__main__":
    sys.exit(main())
