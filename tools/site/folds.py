"""Pages that document many names show each as one line, which opens.

What opens is the signature, the rest of the docstring, tables of fields, and the example that
follows; prose, figures and tables of results stay where they are. Long code among them is folded,
too. All of it works without scripts: the browser opens what its own search finds.
"""
import re

MANY = 6  # names, from which on a page folds them
LONG = 10  # lines of code, from which on such a page folds it
CELL = re.compile(r'<div id="cell-\d+" class="cell">')
TAG = re.compile(r"<div\b|</div>")
HEAD = re.compile(r'<hr />\n(?P<source><p><a href="[^"]*"[^>]*>source</a></p>\n)?'
                  r"(?P<head><h[2-6][^>]*>.*?</h[2-6]>)\n", re.DOTALL)
SUMMARY = re.compile(r"<p><em>(.*?)</em></p>\n?", re.DOTALL)
CODE = re.compile(r'(?<=class="cell">\n)<div class="code-copy-outer-scaffold">')
SHOWN = re.compile(r"<img|<table|<svg|<video|<iframe")

def end_of(html: str, start: int) -> int:
    "Where the division that begins at `start` ends."
    depth = 0
    for tag in TAG.finditer(html, start):
        depth += 1 if tag[0] != "</div>" else -1
        if not depth: return tag.end()
    return len(html)

def cells_of(html: str) -> list[tuple[int, int]]:
    "Where the cells of a page begin and end."
    return [(m.start(), end_of(html, m.start())) for m in CELL.finditer(html)]

def entry(html: str, example: str) -> str:
    "A name's documentation, behind its heading and the first line of its docstring."
    head = HEAD.search(html)
    assert head
    rest = html[:head.start()] + (head["source"] or "") + html[head.end():]
    said = SUMMARY.search(rest)
    if said:
        rest = rest.replace(said[0], "", 1)
    line = f" <span>{said[1]}</span>" if said else ""
    return (f'<details class="entry"><summary>{head["head"]}{line}</summary>\n'
            f"{rest}{example}</details>")

def long_code(html: str) -> str:
    "What stands between names, with cells of many lines of code folded."
    parts, at = [], 0
    for code in CODE.finditer(html):
        end = end_of(html, code.start())
        if html.count("\n", code.start(), end) < LONG: continue
        parts += [html[at:code.start()], '<details class="code-fold"><summary>Code</summary>\n',
                  html[code.start():end], "</details>"]
        at = end
    return "".join([*parts, html[at:]])

def folded(html: str) -> str:
    "A page with its documented names folded, where they are many."
    cells = cells_of(html)
    names = [HEAD.search(html, *cell) is not None for cell in cells]
    if sum(names) < MANY: return html
    parts, at, k = [], 0, 0
    while k < len(cells):
        start, end = cells[k]
        k += 1
        if not names[k - 1]: continue
        last = end
        while k < len(cells) and not names[k]:
            between, shown = html[last:cells[k][0]], html[slice(*cells[k])]
            if between.strip() or SHOWN.search(shown): break
            last, k = cells[k][1], k + 1
        parts += [long_code(html[at:start]), entry(html[start:end], html[end:last])]
        at = last
    return "".join([*parts, long_code(html[at:])])
