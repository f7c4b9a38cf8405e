"""Build the site into _docs/ without Quarto: nbdev makes the pages, smalldocs the site.

What is added to their work: the sidebar lists only notebooks that exist; mathematics is drawn by a
copy of KaTeX (from npm; failing that it is shown as TeX), text in the reader's own fonts; links to
the reference and to source code stay inside the site. What check_site.py finds is an error: a
traceback, a broken link, an unresolved reference, a request to another host.
"""
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import jinja2
import yaml
from check_site import Site
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.quarto import refresh_quarto_yml
from nbdev.serve import proc_nbs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from smalldocs.layout import KATEX

ROOT = Path(__file__).resolve().parents[2]
KATEX_FILES = re.compile(
    r"katex\.min\.(css|js)|contrib/auto-render\.min\.js|fonts/.*\.woff2")
SOURCE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ name }}</title><style>
body { margin: 1rem } pre { overflow-x: auto } {{ light|safe }}
@media (prefers-color-scheme: dark) {
body { background: #0d1117; color: white } {{ dark|safe }} }
</style></head><body><h1>{{ name }}</h1>{{ lines|safe }}</body></html>
"""
EXPECTED = ("output-file is not read", "format commonmark is not built")  # meant for Quarto

def existing(entries: list, missing: list[str]) -> list:
    "The sidebar without notebooks that do not exist; those are added to `missing`."
    kept = []
    for entry in entries:
        if isinstance(entry, dict) and "contents" in entry:
            entry = {**entry, "contents": existing(entry["contents"], missing)}
            if entry["contents"]:
                kept.append(entry)
        elif (ROOT/"nbs"/entry).exists():
            kept.append(entry)
        else:
            missing.append(entry)
    return kept

def listed(entries: list) -> set[str]:
    "All notebooks of a sidebar."
    return set().union(*(listed(e["contents"]) if isinstance(e, dict) else {e} for e in entries))

def write_config(pages: Path) -> None:
    "The site's configuration beside the processed notebooks."
    config = yaml.safe_load((ROOT/"_quarto.yml").read_text())
    missing: list[str] = []
    sidebar = config["website"]["sidebar"]
    sidebar["contents"] = existing(sidebar["contents"], missing)
    if missing:
        print(f"in the sidebar, but not written yet: {', '.join(missing)}")
    written = {Path(f).relative_to(ROOT/"nbs").as_posix() for f in nbglob(ROOT/"nbs")}
    others = written - listed(sidebar["contents"])
    if others:
        print(f"not in the sidebar of _quarto.yml: {', '.join(sorted(others))}")
    whole = {**config, "metadata-files": ["nbdev.yml"]}
    (pages/"_quarto.yml").write_text(yaml.safe_dump(whole, sort_keys=False))

def render(pages: Path) -> list[str]:
    "Run smalldocs; return its complaints."
    command = [sys.executable, "-m", "smalldocs.cli", "render", str(pages), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if not any(e in line for e in EXPECTED)]
    if done.returncode and not lines: return [f"smalldocs ended with status {done.returncode}"]
    return lines

def katex(site: Path) -> bool:
    "Copy KaTeX into the site; False where npm cannot be had."
    package = re.findall(r"katex@[\d.]+", KATEX)[0]
    kept = Path(sys.prefix)/"share"/f"{package}.tgz"
    if not kept.exists():
        command = ["npm", "pack", package, "--silent"]
        try:
            packed = subprocess.run(command, cwd=kept.parent, capture_output=True, text=True,
                                    check=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        (kept.parent/packed.stdout.split()[-1]).replace(kept)
    with tarfile.open(kept) as archive:
        for member in archive.getmembers():
            name = member.name.removeprefix("package/dist/")
            content = archive.extractfile(member)
            if not content or not KATEX_FILES.fullmatch(name): continue
            target = site/"site_libs/katex"/name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
    return True

def source_pages(site: Path, package: Path) -> None:
    "A page per module and per file of tests, with a line number to link to."
    light, dark = (HtmlFormatter(style=style, linenos="inline", lineanchors="L")
                   for style in ("friendly", "github-dark"))
    styles = {"light": light.get_style_defs(".highlight"),
              "dark": dark.get_style_defs(".highlight")}
    template = jinja2.Environment(autoescape=True).from_string(SOURCE)
    for module in [*package.rglob("*.py"), *(ROOT/"tests").rglob("*.py")]:
        name = module.relative_to(ROOT).as_posix()
        target = site/"source"/f"{name}.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = highlight(module.read_text(encoding="utf-8"), PythonLexer(), light)
        target.write_text(template.render(name=name, lines=lines, **styles), encoding="utf-8")

def inside(site: Path, own_katex: bool) -> None:
    """Turn links to the published site, to source code and to KaTeX's CDN into relative ones.

    What can only be had from another host is left out: the fonts of the themes, and KaTeX unless
    there is a copy.
    """
    config = get_config()
    published = f"{config.doc_host}{config.doc_baseurl}/"
    blob = re.escape(f"{config.git_url}/blob/{config.branch}/")
    cdn = re.escape(KATEX)
    for page in site.rglob("*.html"):
        up = "../"*(len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8").replace(f'href="{published}', f'href="{up}')
        for end in ('"', "#L"):
            own = rf'href="{up}source/\1.html{end.replace("#L", "#L-")}'
            text = re.sub(rf'href="{blob}([^"#]+\.py){end}', own, text)
        if own_katex:
            text = text.replace(KATEX, f"{up}site_libs/katex")
        else:
            tags = rf'<link[^>]*href="{cdn}[^>]*>|<script[^>]*src="{cdn}[^>]*></script>'
            text = re.sub(tags, "", text)
        page.write_text(text, encoding="utf-8")
    for style in site.glob("site_libs/themes/*.css"):
        text = re.sub(r"@import url\([^)]*//[^)]*\);", "", style.read_text(encoding="utf-8"))
        style.write_text(text, encoding="utf-8")

def main() -> int:
    os.chdir(ROOT)
    config = get_config()
    refresh_quarto_yml()
    pages = proc_nbs(force=True, n_workers=2)
    for table in pages.glob("experiments/results/*/*.md"):
        table.unlink()  # read by the pages, and none themselves
    write_config(pages)
    faults = render(pages)
    site = pages/config.doc_path.name
    if site.exists():
        source_pages(site, config.lib_path)
        own_katex = katex(site)
        if not own_katex:
            print("KaTeX could not be had from npm: the pages show mathematics as TeX")
        inside(site, own_katex)
        faults += Site(site).faults()
        shutil.rmtree(config.doc_path, ignore_errors=True)
        shutil.move(site, config.doc_path)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"the site is at {config.doc_path.relative_to(ROOT)}/index.html")
    return bool(faults)

if __name__ == "__main__":
    sys.exit(main())
