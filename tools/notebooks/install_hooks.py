"""Install nbdev's hooks in this checkout, so that they work whether or not .venv is active.

- Jupyter cleans a notebook when it is saved (in this environment's configuration, not in your home
  folder).
- git merges notebooks cell by cell, or as text where .venv is missing, and trusts them after a
  merge.
"""
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nbdev.clean import nbdev_install_hooks

ROOT = Path(__file__).resolve().parents[2]
DRIVER = "driver = nbdev_merge %O %A %B %P"
GUARDED_DRIVER = (
    'driver = "if [ -x .venv/bin/nbdev_merge ]; then .venv/bin/nbdev_merge %O %A %B %P; '
    'else git merge-file %A %O %B; fi"')
POST_MERGE = "#!/bin/sh\n[ ! -x .venv/bin/nbdev_trust ] || .venv/bin/nbdev_trust\n"

def main() -> None:
    "Call `nbdev_install_hooks` with another home folder, then make its work independent of PATH."
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        nbdev_install_hooks()
        target = Path(sys.prefix)/"etc/jupyter"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(home)/".jupyter/jupyter_server_config.py", target)
    config = ROOT/".gitconfig"
    text = config.read_text()
    if DRIVER not in text:
        sys.exit(f"nbdev_install_hooks wrote no line `{DRIVER}` in .gitconfig: adapt {__file__}")
    config.write_text(text.replace(DRIVER, GUARDED_DRIVER))
    (ROOT/".git/hooks/post-merge").write_text(POST_MERGE)

if __name__ == "__main__":
    main()
