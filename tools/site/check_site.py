"""Check a built site: python tools/site/check_site.py [_docs]

Faults are a page with a traceback, a link or anchor that leads nowhere, a reference that was not
resolved (Markdown or LaTeX that is still there to be read), and anything that a browser would load
from another host: scripts, styles, pictures, fonts, requests of scripts. Links to other hosts are
the reader's choice, and none.
"""
import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": ["src"], "img": ["src", "srcset"], "source": ["src", "srcset"], "iframe": ["src"],
    "embed": ["src"], "object": ["data"], "audio": ["src"], "video": ["src", "poster"],
    "track": ["src"], "input": ["src"], "image": ["href", "xlink:href"],
    "use": ["href", "xlink:href"], "base": ["href"]}
LOADED_LINKS = {
    "stylesheet", "icon", "apple-touch-icon", "preload", "modulepreload", "prefetch", "preconnect",
    "dns-prefetch", "manifest"}
INLINE = {
    "a", "abbr", "b", "em", "i", "kbd", "mark", "q", "s", "small", "span", "strong", "sub", "sup",
    "u", "var"}
STYLE = re.compile(
    r"""@import\s+(?:url\(\s*)?["']?([^"'()\s;]+)"""
    r"""|url\(\s*(?:"([^"]*)"|'([^']*)'|([^"')\s]*))\s*\)""")
REQUEST = re.compile(
    r"""(?:\b(?:fetch|import|importScripts|Worker|WebSocket|EventSource|sendBeacon)\("""
    r"""|\bfrom\b|\bimport\b|\.open\([^,()]+,|\.(?:src|href)\s*=)"""
    r"""\s*["'`]((?:https?:|wss?:)?//[^"'`]+)""")
MATHS = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
UNRESOLVED = re.compile(
    r"\]\([^()\s]+\)|\]\[[^\][]*\]|\[\^[^\]\s]+\]|\[-?@\w[^\]]*\]|\?@\w"
    r"|(?<![\w/])@(?:fig|tbl|sec|eq|lst|thm)-[\w-]+"
    r"|\{#[\w:-]+[^}]*\}|\\(?:ref|eqref|cite[tp]?)\{[^}]*\}")
LATEX = re.compile(r"\\(?:ref|eqref|cite[tp]?|label)\{[^}]*\}")  # which KaTeX does not know
NOT_LEFT = {"mailto", "data", "javascript", "blob", "about"}  # schemes that lead to no other host

class Page(HTMLParser):
    """A page of the site.

    - `ids`: what an anchor can name
    - `links`: where its links lead
    - `loads`: what a browser fetches for it
    - `styles`, `scripts`: those written into it
    - `prose`: its text, code left out
    - `failed`: whether it shows the output of a failed cell
    """
    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.prose, self.failed = "", "Traceback (most recent" in text
        self.inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        self.ids |= {has[name] for name in ("id", *(["name"] if tag == "a" else [])) if name in has}
        self.failed |= "cell-output-error" in has.get("class", "")
        if "style" in has:
            self.styles.append(has["style"])
        if tag in ("a", "area") and "href" in has:
            self.links.append(has["href"])
        kinds = set(has.get("rel", "").lower().split())
        if tag == "link" and "href" in has and LOADED_LINKS & kinds:
            self.loads.append(has["href"])
        for name in LOADED.get(tag, []):
            if name == "srcset" and name in has:
                self.loads += [one.split()[0] for one in has[name].split(", ")]
            elif name in has:
                self.loads.append(has[name])
        if tag in ("pre", "code", "script", "style"):
            self.inside.append(tag)
        if tag == "code":
            self.prose += "`"
        elif tag not in INLINE:
            self.prose += "\n"

    def handle_endtag(self, tag: str) -> None:
        if self.inside[-1:] == [tag]:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.prose += data
        elif self.inside[-1] == "style":
            self.styles.append(data)
        elif self.inside[-1] == "script":
            self.scripts.append(data)

def elsewhere(url: str) -> bool:
    "Whether a URL names another host, or a file of this machine."
    parts = urlsplit(url.strip())
    return bool(parts.netloc or parts.scheme) and parts.scheme not in NOT_LEFT

def styles_load(style: str) -> Iterator[str]:
    "What a style sheet fetches from other hosts."
    return filter(elsewhere, ("".join(found) for found in STYLE.findall(style)))

class Site:
    "The pages of a folder, each read once."
    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        self.pages = {path: Page(path.read_text(encoding="utf-8"))
                      for path in sorted(self.folder.rglob("*.html"))}

    def leads_nowhere(self, origin: Path, url: str) -> str | None:
        "What is wrong with a link of the page `origin`; none to another host, or to what is there."
        parts = urlsplit(url)
        if parts.netloc or parts.scheme in NOT_LEFT: return None
        if parts.scheme: return f"{url}: neither a web address nor a file of the site"
        if parts.path.startswith("/"):
            return f"{url}: not relative, and a site may lie below any address"
        target = (origin.parent/unquote(parts.path)).resolve() if parts.path else origin
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(self.folder) or not target.exists():
            return f"{url}: no such file"
        if parts.fragment in ("", "top") or target not in self.pages: return None
        there = unquote(parts.fragment) in self.pages[target].ids
        return None if there else f"{url}: no such anchor"

    def page_faults(self, path: Path, page: Page) -> Iterator[str]:
        "Those of a page, without its name."
        if page.failed and not path.is_relative_to(self.folder/"source"):
            yield "holds a traceback"
        for url in dict.fromkeys([*page.links, *(u for u in page.loads if not elsewhere(u))]):
            wrong = self.leads_nowhere(path, url)
            if wrong:
                yield f"broken link {wrong}"
        loads = [url for url in page.loads if elsewhere(url)]
        loads += [url for style in page.styles for url in styles_load(style)]
        loads += [url for script in page.scripts for url in REQUEST.findall(script)]
        yield from (f"loads {url}" for url in loads)
        text, maths = MATHS.sub("", page.prose), "\n".join(MATHS.findall(page.prose))
        for found in UNRESOLVED.findall(text) + LATEX.findall(maths):
            yield f"unresolved reference {found}"

    def file_faults(self) -> Iterator[tuple[Path, str]]:
        "Those of style sheets, scripts and the search index, with their files."
        for kind, loads in (("css", styles_load), ("js", REQUEST.findall)):
            for path in sorted(self.folder.rglob(f"*.{kind}")):
                for url in loads(path.read_text(encoding="utf-8")):
                    yield path, f"loads {url}"
        index = self.folder/"search.json"
        for entry in json.loads(index.read_text(encoding="utf-8")) if index.exists() else []:
            wrong = self.leads_nowhere(index, entry["href"])
            if wrong:
                yield index, f"broken link {wrong}"

    def faults(self) -> Iterator[str]:
        "All of them, a line each."
        found = [(path, fault) for path, page in self.pages.items()
                 for fault in self.page_faults(path, page)]
        for path, fault in [*found, *self.file_faults()]:
            yield f"{path.relative_to(self.folder).as_posix()}: {fault}"

def main() -> int:
    site = Site(Path(sys.argv[1] if len(sys.argv) > 1 else "_docs"))
    found = [*site.faults()] if site.pages else [f"no pages in {site.folder}: run `make docs`"]
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        print(f"{len(site.pages)} pages: no traceback, no broken link, no unresolved reference, no "
              "request to another host")
    return bool(found)

if __name__ == "__main__":
    sys.exit(main())
