// The sidebar shows where the reader is; a table or an equation wider than its column says that it
// scrolls.
(() => {
  const here = document.querySelector("#quarto-sidebar .sidebar-link.active");
  if (here) here.closest(".sidebar-item-container").scrollIntoView({block: "center"});
  window.scrollTo({top: location.hash ? window.scrollY : 0});
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
