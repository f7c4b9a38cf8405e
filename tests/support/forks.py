"""Processes of the command line that cost no start: forks of one that has imported all of it.

Run as a script, it reads orders from its standard input, a JSON object a line, and answers each
with one. `words` of the command line are performed in a fork, which is killed `after` so many
seconds, or before its file operation number `operation`, alone or as a `group` with what it has
started. A fork that is killed says first where it is.
"""
import faulthandler
import json
import mmap
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR


def watch(most: int | None, group: bool, trace: Any, count: mmap.mmap) -> None:
    "Count what this process does to files, and kill it before it does more than `most`."
    number, mine = 0, os.getpid()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if event not in CHANGES and (not opens or arguments[0] == os.devnull): return
        number += 1
        if os.getpid() != mine: return
        count[:8] = number.to_bytes(8, "little")
        if most is not None and number > most:
            faulthandler.dump_traceback(trace)
            os.kill(-mine if group else mine, signal.SIGKILL)
            time.sleep(60)

    sys.addaudithook(hook)


class Fork:
    "What a comparison needs of a process: a run is forked from it instead of started anew."
    def __init__(self, command: list[str], stdout: int, stderr: Any):
        del stdout
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                status = perform(command[command.index("run"):], stderr.fileno())
            finally:
                os._exit(status)

    def poll(self) -> int | None:
        "The status, once it has ended."
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def terminate(self) -> None:
        "Ask it to end."
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> None:
        "Wait until it has ended."
        while self.poll() is None:
            time.sleep(.01)


def perform(words: list[str], errors: int) -> int:
    "Do what the command line says in this process; its status."
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(errors, 2)
    sys.argv[1:] = words
    from adaptive_dist.cli import main
    return main()


def obey(order: dict[str, Any], trace: Any, count: mmap.mmap) -> int:
    "What a fork does with an order; its status."
    os.setsid()
    with open("stderr.txt", "w") as errors:
        faulthandler.register(signal.SIGUSR1, trace)
        from adaptive_dist.report import processes
        processes.subprocess = type("", (), {"Popen": Fork, "DEVNULL": subprocess.DEVNULL})
        watch(order.get("operation"), order.get("group", False), trace, count)
        return perform(order["words"], errors.fileno())


def where(trace: str) -> str:
    "The innermost function of the package in which the main thread of a killed process was."
    main = trace.rpartition("(most recent call first):")[2]
    found = re.search(r'adaptive_dist/(?:\w+/)*(\w+)\.py", line \d+ in (\w+)', main)
    return ".".join(found.groups()) if found else "before or after"


def answer(order: dict[str, Any]) -> dict[str, Any] | int:
    "Perform an order in a fork and tell how it ended; in the fork, its status."
    count, begin = mmap.mmap(-1, 8), time.monotonic()
    with open("trace.txt", "w+") as trace:
        pid = os.fork()
        if not pid: return obey(order, trace, count)
        ended = os.pidfd_open(pid)
        if not select.select([ended], [], [], order.get("after"))[0]:
            os.kill(pid, signal.SIGUSR1)
            select.select([ended], [], [], .05)
            (os.killpg if order.get("group") else os.kill)(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == -signal.SIGUSR1:  # it was ending, and did not listen any more
            status = -signal.SIGKILL
        os.close(ended)
        trace.seek(0)
        return {"status": status, "seconds": time.monotonic() - begin,
                "operations": int.from_bytes(count[:8], "little"), "where": where(trace.read()),
                "errors": Path("stderr.txt").read_text()}


def serve() -> int:
    "Answer orders until there are no more; the status of this process, or of a fork of it."
    import orbax.checkpoint  # noqa: F401
    import tensorboardX  # noqa: F401
    from jax._src import xla_bridge

    from adaptive_dist import commands  # noqa: F401
    from adaptive_dist.corpus import select as _, tokenise  # noqa: F401
    from adaptive_dist.experiments import lm  # noqa: F401
    for line in iter(sys.stdin.readline, ""):
        assert not xla_bridge._backends, "a fork would share its threads"
        told = answer(json.loads(line))
        if isinstance(told, int): return told
        print(json.dumps(told), flush=True)
    return 0


class Forks:
    """Commands performed by forks in the working folder, and where they were killed.

    What JAX has `compiled` is kept in a folder.
    """
    def __init__(self, compiled: Path):
        names = {"JAX_COMPILATION_CACHE_DIR": str(compiled),
                 "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                 "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | names)
        self.killed: Counter[str] = Counter()

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *why: object) -> None:
        self.process.communicate()
        for place, count in self.killed.most_common():
            print(f"{count:6} {place}")
        print(f"{self.killed.total():6} kills")

    def order(self, *words: str, **how: Any) -> dict[str, Any]:
        "Perform a command, and count where it was killed."
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"words": words, **how}) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        if told["status"] == -signal.SIGKILL:
            self.killed[told["where"]] += 1
            print(f"kill {self.killed.total()}: {words[0]} in {told['where']}", flush=True)
        return told


if __name__ == "__main__":
    sys.exit(serve())
