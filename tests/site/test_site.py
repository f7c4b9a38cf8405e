"The check of the built site: each fault, planted in a small one, is found, and nothing else is; and how its pages are made."
from pathlib import Path

import check_notebooks
import nbformat
import pytest
import run_notebooks
from check_site import Site
from docs import KATEX, inside
from nbdev.config import get_config

PAGE = r"""<!doctype html><html><head><link rel="stylesheet" href="own.css"><link rel="canonical" href="https://example.org/a">
<script src="own.js"></script><style>body { background: url(data:image/png;base64,AAAA) }</style></head><body><h1 id="top-of-it">A page</h1>
<p>See <a href="deep/b.html#part">another</a>, <a href="#top-of-it">above</a>, <a href="https://example.org/">another site</a>,
<a href="mailto:a@example.org">somebody</a>. Maths \(a[i](x)\), code <code>[text](link.ipynb) @fig-one</code>, a list [1]
and me@example.org.</p>
<img src="data:image/png;base64,AAAA"><svg xmlns="http://www.w3.org/2000/svg"></svg><!-- PLANT --></body></html>"""

FAULTS = {
    "traceback": ("<pre>Traceback (most recent call last):</pre>", "a.html: holds a traceback"),
    "failed cell": ('<div class="cell-output cell-output-error"><pre>ValueError</pre></div>', "a.html: holds a traceback"),
    "missing page": ('<a href="gone.html">x</a>', "a.html: broken link gone.html: no such file"),
    "notebook": ('<a href="deep/b.ipynb">x</a>', "a.html: broken link deep/b.ipynb: no such file"),
    "missing anchor": ('<a href="deep/b.html#other">x</a>', "a.html: broken link deep/b.html#other: no such anchor"),
    "missing anchor here": ('<a href="#other">x</a>', "a.html: broken link #other: no such anchor"),
    "missing picture": ('<img src="gone.png">', "a.html: broken link gone.png: no such file"),
    "outside": ('<a href="../secret.html">x</a>', "a.html: broken link ../secret.html: no such file"),
    "from the root": ('<a href="/deep/b.html">x</a>',
                      "a.html: broken link /deep/b.html: not relative, and a site may lie below any address"),
    "own disk": ('<a href="file:///b.html">x</a>',
                 "a.html: broken link file:///b.html: neither a web address nor a file of the site"),
    "Markdown link": ("<p>[the <code>rule</code>](rules.ipynb#soba)</p>", "a.html: unresolved reference ](rules.ipynb#soba)"),
    "reference": ("<p>[text][there]</p>", "a.html: unresolved reference ][there]"),
    "footnote": ("<p>so it is.[^1]</p>", "a.html: unresolved reference [^1]"),
    "citation": ("<p>as in [@grangier2024]</p>", "a.html: unresolved reference [@grangier2024]"),
    "figure": ("<p>see @fig-losses</p>", "a.html: unresolved reference @fig-losses"),
    "missing figure": ("<p>see <strong>?@losses</strong></p>", "a.html: unresolved reference ?@l"),
    "label": ("<p>x {#eq-soba}</p>", "a.html: unresolved reference {#eq-soba}"),
    "equation": (r"<p>by \[v \eqref{eq:soba}\]</p>", r"a.html: unresolved reference \eqref{eq:soba}"),
    "script": ('<script src="https://cdn.example.org/x.js"></script>', "a.html: loads https://cdn.example.org/x.js"),
    "module": ("<script type=module>import x from 'https://cdn.example.org/x.mjs'</script>", "a.html: loads https://cdn.example.org/x.mjs"),
    "fetch": ("<script>fetch('//example.org/data.json')</script>", "a.html: loads //example.org/data.json"),
    "XMLHttpRequest": ("<script>r.open('GET', 'http://example.org/d')</script>", "a.html: loads http://example.org/d"),
    "style sheet": ('<link rel="preload stylesheet" href="//example.org/x.css">', "a.html: loads //example.org/x.css"),
    "icon": ('<link rel="shortcut icon" href="https://example.org/i.ico">', "a.html: loads https://example.org/i.ico"),
    "picture": ('<img src="https://example.org/badge.svg">', "a.html: loads https://example.org/badge.svg"),
    "picture of a set": ('<img srcset="own.css 1x, https://example.org/2.png 2x">', "a.html: loads https://example.org/2.png"),
    "frame": ('<iframe src="https://example.org/"></iframe>', "a.html: loads https://example.org/"),
    "font": ("<style>@font-face { src: url('https://example.org/f.woff2') }</style>", "a.html: loads https://example.org/f.woff2"),
    "background": ('<p style="background: url(//example.org/b.png)">x</p>', "a.html: loads //example.org/b.png"),
    "import": ("<style>@import 'https://example.org/x.css';</style>", "a.html: loads https://example.org/x.css"),
}

@pytest.fixture
def site(tmp_path: Path) -> Path:
    "Two pages, a style and a script, without fault."
    (tmp_path/"deep").mkdir()
    for name, text in {"a.html": PAGE, "deep/b.html": '<p id="part">b</p> <a href="../a.html">back</a>', "own.css": "p { color: red }",
                       "own.js": "fetch('search.json')", "search.json": '[{"href": "deep/b.html#part"}]'}.items():
        (tmp_path/name).write_text(text)
    return tmp_path

def test_no_fault_is_found_where_there_is_none(site: Path) -> None: assert [*Site(site).faults()] == []

@pytest.mark.parametrize("planted", FAULTS)
def test_planted_fault_is_found(site: Path, planted: str) -> None:
    html, fault = FAULTS[planted]
    (site/"a.html").write_text(PAGE.replace("<!-- PLANT -->", html))
    assert [*Site(site).faults()] == [fault]

@pytest.mark.parametrize(("name", "text", "fault"), [
    ("own.css", "@import url(https://example.org/f?w=1;2);", "own.css: loads https://example.org/f?w=1"),
    ("own.js", 'import("https://example.org/x.js")', "own.js: loads https://example.org/x.js"),
    ("search.json", '[{"href": "deep/b.html#gone"}]', "search.json: broken link deep/b.html#gone: no such anchor")])
def test_fault_in_another_file_is_found(site: Path, name: str, text: str, fault: str) -> None:
    (site/name).write_text(text)
    assert [*Site(site).faults()] == [fault]

@pytest.mark.parametrize("own_katex", [True, False])
def test_pages_are_made_to_load_nothing_from_other_hosts(site: Path, own_katex: bool) -> None:
    wanted = f'<link rel="stylesheet" href="{KATEX}/katex.min.css"><script src="{KATEX}/katex.min.js" defer></script>'
    (site/"a.html").write_text(PAGE.replace("<!-- PLANT -->", wanted))
    (site/"site_libs/themes").mkdir(parents=True)
    (site/"site_libs/themes/x.css").write_text("/* a */@import url(https://example.org/css2?components=X:wght@3;4);p { color: red }")
    assert len([*Site(site).faults()]) == 3
    inside(site, own_katex)
    if own_katex:
        (site/"site_libs/katex").mkdir()
        for name in ("katex.min.css", "katex.min.js"): (site/"site_libs/katex"/name).touch()
    assert [*Site(site).faults()] == [] and (site/"site_libs/themes/x.css").read_text() == "/* a */p { color: red }"
    assert ("site_libs/katex/katex.min.js" in (site/"a.html").read_text()) == own_katex

def test_links_to_source_code_stay_inside(site: Path) -> None:
    (site/"source/tests").mkdir(parents=True)
    (site/"source/tests/test_site.py.html").write_text('<a id="L-3"></a>')
    address = f"{get_config().git_url}/blob/{get_config().branch}/tests/test_site.py"
    (site/"deep/b.html").write_text(f'<p id="part"><a href="{address}#L3">a</a> <a href="{address}">b</a> <a href="{address}#L4">c</a></p>')
    inside(site, own_katex=True)
    assert [*Site(site).faults()] == ["deep/b.html: broken link ../source/tests/test_site.py.html#L-4: no such anchor"]

@pytest.mark.parametrize(("source", "kept"), [
    ("# Title\n\n> What it is.", True), ("# Title\n\n> What it is.\n\n- order: 3\n", True), ("# Title\n\n> What it is.\n\nText.", False),
    ("# Title", False)])
def test_text_that_a_title_would_swallow_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kept: bool) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(source)]), tmp_path/"a.ipynb")
    monkeypatch.setattr(check_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(check_notebooks, "notebooks", lambda: [tmp_path/"a.ipynb"])
    assert bool([*check_notebooks.swallowed()]) != kept

def test_progress_bars_are_cleaned_away(tmp_path: Path) -> None:
    bar = nbformat.v4.new_output("display_data", {"text/plain": "0%", run_notebooks.WIDGET: {"model_id": "a", "version_major": 2}})
    said = [nbformat.v4.new_output("stream", name=name, text=name) for name in ("stderr", "stdout")]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[*said, bar])]), tmp_path/"a.ipynb")
    assert run_notebooks.clean(tmp_path/"a.ipynb") and not run_notebooks.clean(tmp_path/"a.ipynb")
    assert [o.text for o in nbformat.read(tmp_path/"a.ipynb", as_version=4).cells[0].outputs] == ["stdout"]
