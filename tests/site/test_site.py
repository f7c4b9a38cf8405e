"""The check of the built site, and how its pages are made.

Each fault, planted in a small site, is found, and nothing else is.
"""
from pathlib import Path

import check_notebooks
import nbformat
import pytest
import run_notebooks
from check_site import Site
from docs import KATEX, inside
from nbdev.config import get_config

PAGE = r"""<!doctype html><html><head><link rel="stylesheet" href="own.css">
<link rel="canonical" href="https://example.org/a"><script src="own.js"></script>
<style>body { background: url(data:image/png;base64,AAAA) }</style></head>
<body><h1 id="top-of-it">A page</h1>
<p>See <a href="deep/b.html#part">another</a>, <a href="#top-of-it">above</a>,
<a href="https://example.org/">another site</a>, <a href="mailto:a@example.org">somebody</a>.
Maths \(a[i](x)\), code <code>[text](link.ipynb) @fig-one</code>, a list [1] and me@example.org.</p>
<img src="data:image/png;base64,AAAA"><svg xmlns="http://www.w3.org/2000/svg"></svg>
<!-- PLANT --></body></html>"""

BROKEN_LINKS = {
    "missing page": ('<a href="gone.html">x</a>', "gone.html: no such file"),
    "notebook": ('<a href="deep/b.ipynb">x</a>', "deep/b.ipynb: no such file"),
    "missing anchor": ('<a href="deep/b.html#other">x</a>', "deep/b.html#other: no such anchor"),
    "missing anchor here": ('<a href="#other">x</a>', "#other: no such anchor"),
    "missing picture": ('<img src="gone.png">', "gone.png: no such file"),
    "outside": ('<a href="../secret.html">x</a>', "../secret.html: no such file"),
    "from the root": (
        '<a href="/deep/b.html">x</a>',
        "/deep/b.html: not relative, and a site may lie below any address"),
    "own disk": (
        '<a href="file:///b.html">x</a>',
        "file:///b.html: neither a web address nor a file of the site"),
}
UNRESOLVED = {
    "Markdown link": (
        "<p>[the <code>rule</code>](rules.ipynb#soba)</p>", "](rules.ipynb#soba)"),
    "reference": ("<p>[text][there]</p>", "][there]"),
    "footnote": ("<p>so it is.[^1]</p>", "[^1]"),
    "citation": ("<p>as in [@grangier2024]</p>", "[@grangier2024]"),
    "figure": ("<p>see @fig-losses</p>", "@fig-losses"),
    "missing figure": ("<p>see <strong>?@losses</strong></p>", "?@l"),
    "label": ("<p>x {#eq-soba}</p>", "{#eq-soba}"),
    "equation": (r"<p>by \[v \eqref{eq:soba}\]</p>", r"\eqref{eq:soba}"),
}
CDN, OUTSIDE = "https://cdn.example.org", "https://example.org"
LOADED = {
    "script": (f'<script src="{CDN}/x.js"></script>', f"{CDN}/x.js"),
    "module": (f"<script type=module>import x from '{CDN}/x.mjs'</script>", f"{CDN}/x.mjs"),
    "fetch": ("<script>fetch('//example.org/data.json')</script>", "//example.org/data.json"),
    "XMLHttpRequest": (
        "<script>r.open('GET', 'http://example.org/d')</script>", "http://example.org/d"),
    "style sheet": (
        '<link rel="preload stylesheet" href="//example.org/x.css">', "//example.org/x.css"),
    "icon": (f'<link rel="shortcut icon" href="{OUTSIDE}/i.ico">', f"{OUTSIDE}/i.ico"),
    "picture": (f'<img src="{OUTSIDE}/badge.svg">', f"{OUTSIDE}/badge.svg"),
    "picture of a set": (f'<img srcset="own.css 1x, {OUTSIDE}/2.png 2x">', f"{OUTSIDE}/2.png"),
    "frame": (f'<iframe src="{OUTSIDE}/"></iframe>', f"{OUTSIDE}/"),
    "font": (
        f"<style>@font-face {{ src: url('{OUTSIDE}/f.woff2') }}</style>", f"{OUTSIDE}/f.woff2"),
    "background": (
        '<p style="background: url(//example.org/b.png)">x</p>', "//example.org/b.png"),
    "import": (f"<style>@import '{OUTSIDE}/x.css';</style>", f"{OUTSIDE}/x.css"),
}
FAULTS = {
    "traceback": (
        "<pre>Traceback (most recent call last):</pre>", "a.html: holds a traceback"),
    "failed cell": (
        '<div class="cell-output cell-output-error"><pre>ValueError</pre></div>',
        "a.html: holds a traceback"),
    **{name: (html, f"a.html: broken link {what}") for name, (html, what) in BROKEN_LINKS.items()},
    **{name: (html, f"a.html: unresolved reference {what}")
       for name, (html, what) in UNRESOLVED.items()},
    **{name: (html, f"a.html: loads {what}") for name, (html, what) in LOADED.items()},
}

@pytest.fixture
def site(tmp_path: Path) -> Path:
    "Two pages, a style and a script, without fault."
    (tmp_path/"deep").mkdir()
    files = {
        "a.html": PAGE, "deep/b.html": '<p id="part">b</p> <a href="../a.html">back</a>',
        "own.css": "p { color: red }", "own.js": "fetch('search.json')",
        "search.json": '[{"href": "deep/b.html#part"}]'}
    for name, text in files.items():
        (tmp_path/name).write_text(text)
    return tmp_path

def test_no_fault_is_found_where_there_is_none(site: Path) -> None:
    assert [*Site(site).faults()] == []

@pytest.mark.parametrize("planted", FAULTS)
def test_planted_fault_is_found(site: Path, planted: str) -> None:
    html, fault = FAULTS[planted]
    (site/"a.html").write_text(PAGE.replace("<!-- PLANT -->", html))
    assert [*Site(site).faults()] == [fault]

@pytest.mark.parametrize(("name", "text", "fault"), [
    ("own.css", "@import url(https://example.org/f?w=1;2);",
     "own.css: loads https://example.org/f?w=1"),
    ("own.js", 'import("https://example.org/x.js")', "own.js: loads https://example.org/x.js"),
    ("search.json", '[{"href": "deep/b.html#gone"}]',
     "search.json: broken link deep/b.html#gone: no such anchor")])
def test_fault_in_another_file_is_found(site: Path, name: str, text: str, fault: str) -> None:
    (site/name).write_text(text)
    assert [*Site(site).faults()] == [fault]

@pytest.mark.parametrize("own_katex", [True, False])
def test_pages_are_made_to_load_nothing_from_other_hosts(site: Path, own_katex: bool) -> None:
    wanted = (f'<link rel="stylesheet" href="{KATEX}/katex.min.css">'
              f'<script src="{KATEX}/katex.min.js" defer></script>')
    (site/"a.html").write_text(PAGE.replace("<!-- PLANT -->", wanted))
    (site/"site_libs/themes").mkdir(parents=True)
    font = "@import url(https://example.org/css2?components=X:wght@3;4);"
    theme = site/"site_libs/themes/x.css"
    theme.write_text(f"/* a */{font}p {{ color: red }}")
    assert len([*Site(site).faults()]) == 3
    inside(site, own_katex)
    if own_katex:
        (site/"site_libs/katex").mkdir()
        for name in ("katex.min.css", "katex.min.js"):
            (site/"site_libs/katex"/name).touch()
    assert [*Site(site).faults()] == []
    assert theme.read_text() == "/* a */p { color: red }"
    assert ("site_libs/katex/katex.min.js" in (site/"a.html").read_text()) == own_katex

def test_links_to_source_code_stay_inside(site: Path) -> None:
    (site/"source/tests").mkdir(parents=True)
    (site/"source/tests/test_site.py.html").write_text('<a id="L-3"></a>')
    address = f"{get_config().git_url}/blob/{get_config().branch}/tests/test_site.py"
    links = (f'<a href="{address}{line}">a</a>' for line in ("#L3", "", "#L4"))
    (site/"deep/b.html").write_text(f'<p id="part">{" ".join(links)}</p>')
    inside(site, own_katex=True)
    assert [*Site(site).faults()] == [
        "deep/b.html: broken link ../source/tests/test_site.py.html#L-4: no such anchor"]

def write_notebook(path: Path, cell: nbformat.NotebookNode) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)

@pytest.mark.parametrize(("source", "kept"), [
    ("# Title\n\n> What it is.", True), ("# Title\n\n> What it is.\n\n- order: 3\n", True),
    ("# Title\n\n> What it is.\n\nText.", False), ("# Title", False)])
def test_text_that_a_title_would_swallow_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kept: bool,
) -> None:
    write_notebook(tmp_path/"a.ipynb", nbformat.v4.new_markdown_cell(source))
    monkeypatch.setattr(check_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(check_notebooks, "notebooks", lambda: [tmp_path/"a.ipynb"])
    assert bool([*check_notebooks.swallowed()]) != kept

def test_progress_bars_are_cleaned_away(tmp_path: Path) -> None:
    path, widget = tmp_path/"a.ipynb", {"model_id": "a", "version_major": 2}
    data = {"text/plain": "0%", run_notebooks.WIDGET: widget}
    bar = nbformat.v4.new_output("display_data", data)
    said = [nbformat.v4.new_output("stream", name=name, text=name) for name in ("stderr", "stdout")]
    write_notebook(path, nbformat.v4.new_code_cell("1", outputs=[*said, bar]))
    assert run_notebooks.clean(path) and not run_notebooks.clean(path)
    assert [o.text for o in nbformat.read(path, as_version=4).cells[0].outputs] == ["stdout"]
