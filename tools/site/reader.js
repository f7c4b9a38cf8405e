// The sidebar shows where the reader is; a table or an equation wider than its column says that it
// scrolls.
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
})();
