"""Build the site into _docs/ without Quarto: nbdev makes the pages, smalldocs the site.

What is added to their work: the sidebar lists only notebooks that exist; the reference shows the
source's signatures, fields and settings, and has an index (api.py); names are folded where they are
many (folds.py), and the code of pages of results (reader.py); search goes by words (search.js);
mathematics is drawn by a copy of KaTeX (from npm; failing that it is shown as TeX), text in the
reader's own fonts; links to the reference and to source code stay inside the site. What
check_site.py finds is an error: a traceback, a broken link, an unresolved reference, a request to
another host.
"""
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import api
import folds
import jinja2
import reader
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
pre .linenos { color: inherit !important; opacity: .75 }
@media (prefers-color-scheme: dark) {
body { background: #0d1117; color: white } {{ dark|safe }} }
</style></head><body><h1>{{ name }}</h1>{{ lines|safe }}</body></html>
"""
NOT_FOUND = """\
<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Not found</title><style>
body { font: 1.1rem/1.5 sans-serif; margin: 4rem auto; max-width: 36rem; padding: 0 1rem;
  background: #fff; color: #222 }
@media (prefers-color-scheme: dark) { body { background: #222; color: #fff } a { color: #8ab4f8 } }
</style></head><body><h1>There is no such page</h1><p>It may have moved:
<a href="{{ home }}">the first page of {{ name }}</a> has the contents and a search.</p>
</body></html>
"""
ABOUT = {
    "CHANGELOG.md": ("changelog", "Changelog", "What is new, version by version"),
    "CONTRIBUTING.md": ("contributing", "Contributing", "How to change the package"),
    "LICENSE": ("licence", "Licence", "Apache License 2.0")}
VARIANT = re.compile(r"(?<=<td>)[\w ]+(?:\+ ?\w+=[^<]*)+(?=</td>)")  # soba+damping=1 in a table
INLINE = re.compile(r"(?<!<pre><code>)(?<=<code>)[^<]*-[^<]*(?=</code>)")
HYPHENATED = re.compile(r"(?<![\w-])(?:--\w|\w+-\w)[\w-]*")  # --dtype, adaptive-dist
BLOCKING = re.compile(r'(<script src="[^"]*/(?:bootstrap\.bundle|fuse)\.min\.js")>')
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

def add_to_sidebar(contents: list, made: list[str]) -> None:
    "Put the pages of the reference and about the project into their sections."
    sections = {e["section"]: e["contents"] for e in contents if isinstance(e, dict)}
    first = ["reference/index.md", "reference/settings.md"]
    rooms = [n for n in made if n.startswith("reference/") and n not in first]
    names = {"section": "Public names by room", "contents": rooms}
    sections["Reference"][:0] = [*first, names]
    sections["About"] += [name for name in made if name.startswith("about/")]

def write_pages(pages: Path, package: api.Package) -> list[str]:
    "Rewrite processed notebooks for readers, and add pages that are made; those, by name."
    anchors = {}
    for path in sorted(pages.rglob("*.ipynb")):
        name = path.relative_to(pages).with_suffix("").as_posix()
        guide = name.startswith(("guides/", "experiments/"))
        anchors[name] = reader.for_readers(path, guide, package)
    blob = f"{get_config().git_url}/blob/{get_config().branch}/"
    made = {f"reference/{name}": text for name, text in api.pages(package, anchors).items()}
    made |= {f"about/{name}.md": reader.page_of(ROOT/file, title, said, blob)
             for file, (name, title, said) in ABOUT.items()}
    for name, text in made.items():
        (pages/name).parent.mkdir(exist_ok=True)
        (pages/name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT/"nbs/favicon.svg", pages)
    return [*made]

def write_config(pages: Path, made: list[str]) -> None:
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
    add_to_sidebar(sidebar["contents"], made)
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
                   for style in ("xcode", "github-dark"))
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

def own_scripts(site: Path) -> None:
    """Search by words in place of Fuse, the sidebar and wide tables; pages of results are marked.

    No script keeps text from being shown, and no flag is broken at a hyphen.
    """
    shutil.copy(ROOT/"tools/site/reader.js", site/"site_libs")
    shutil.copy(ROOT/"tools/site/search.js", site/"site_libs/fuse/fuse.min.js")
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        up = "../"*(len(page.relative_to(site).parts) - 1)
        twin = f"{page.stem}.llms.md"
        head = f'<script src="{up}site_libs/reader.js" defer></script>'
        if page.with_name(twin).exists():
            head += f'<link rel="alternate" type="text/markdown" href="{twin}">'
        if 'class="code-fold"' in text:
            start = 'id="quarto-content" class="'
            text = text.replace(start, f"{start}results ", 1)
        text = folds.folded(text)
        text = VARIANT.sub(lambda m: re.sub(r"([+=])", r"\1<wbr>", m[0]), text)
        text = INLINE.sub(
            lambda m: HYPHENATED.sub(r'<span class="whole">\g<0></span>', m[0]), text)
        text = BLOCKING.sub(r"\1 defer>", text)
        page.write_text(text.replace("</head>", f"{head}</head>", 1), encoding="utf-8")

DESCRIPTION = re.compile(r'<meta name="description" content="([^"]*)"')

def search_index(site: Path, package: api.Package) -> None:
    "Pages are found by the line below their title, too, and public names are told from words."
    index, names = site/"search.json", {name.name for name in package.public()}
    entries = json.loads(index.read_text(encoding="utf-8"))
    for entry in entries:
        entry["name"] = entry["section"] in names
        if not entry["section"]:
            found = DESCRIPTION.search((site/entry["href"]).read_text(encoding="utf-8"))
            entry["about"] = html.unescape(found[1]) if found else ""
    index.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")

def main() -> int:
    os.chdir(ROOT)
    config = get_config()
    refresh_quarto_yml()
    pages = proc_nbs(force=True, n_workers=2)
    for table in pages.glob("experiments/results/*/*.md"):
        table.unlink()  # read by the pages, and none themselves
    package = api.Package(config.lib_path)
    write_config(pages, write_pages(pages, package))
    faults = render(pages)
    site = pages/config.doc_path.name
    if site.exists():
        own_scripts(site)
        search_index(site, package)
        source_pages(site, config.lib_path)
        own_katex = katex(site)
        if not own_katex:
            print("KaTeX could not be had from npm: the pages show mathematics as TeX")
        inside(site, own_katex)
        home = f"{config.doc_host}{config.doc_baseurl}/index.html"
        page = jinja2.Environment(autoescape=True).from_string(NOT_FOUND)
        (site/"404.html").write_text(page.render(home=home, name=config.title), encoding="utf-8")
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
