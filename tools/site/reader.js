// The sidebar shows where the reader is; a table or an equation wider than its column says that it
// scrolls; a folded name that a link leads to is open, and one button opens all.
(() => {
  const sidebar = document.querySelector("#quarto-sidebar");
  const here = sidebar && sidebar.querySelector(".sidebar-link.active");
  if (here) {  // the sidebar alone moves, not the page
    const [bar, link] = [sidebar.getBoundingClientRect(), here.getBoundingClientRect()];
    sidebar.scrollTop += link.top - bar.top - bar.height/2;
  }
  const boxes = [...document.querySelectorAll(
    "main .sd-table, main .cell-output-display:has(table), main .math.display")];
  const mark = () => boxes.forEach(box => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", !!wide);
    if (wide) box.tabIndex = 0; else box.removeAttribute("tabindex");
  });
  mark();
  window.addEventListener("load", mark);
  window.addEventListener("resize", mark);

  const entries = [...document.querySelectorAll("details.entry")];
  const openAll = open => entries.forEach(e => { e.open = open; });
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let e = target && target.closest("details"); e; e = e.parentElement.closest("details"))
      e.open = true;
    if (target && target.closest("details")) target.scrollIntoView();
  };
  if (entries.length) {
    const button = document.createElement("button");
    button.className = "open-all";
    const name = () => {
      button.textContent = entries.every(e => e.open) ? "Fold all" : `Open all ${entries.length}`;
    };
    button.onclick = () => { openAll(!entries.every(e => e.open)); name(); };
    name();
    document.querySelector("#title-block-header").append(button);
  }
  follow();
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", () => openAll(true));
})();
