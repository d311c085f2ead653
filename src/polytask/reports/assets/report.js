"use strict";
(() => {
  const read = (element) => JSON.parse(element.textContent);
  const config = read(document.getElementById("chart-config"));
  for (const source of document.querySelectorAll("script[data-chart]")) {
    const target = document.getElementById(source.dataset.chart);
    vegaEmbed(target, read(source), { mode: "vega-lite", renderer: "svg", actions: false, config })
      .catch((error) => {
        target.textContent = "This chart could not be drawn; its numbers are in the tables.";
        console.error(error);
      });
  }

  // Sorting: numbers before texts, empty cells last, ties keep their order.
  const compare = (a, b) => {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    const [x, y] = [Number(a), Number(b)];
    if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const body = table.tBodies[0];
        const key = (row) => row.cells[column].dataset.v;
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          return descending && x !== "" && y !== "" ? compare(y, x) : compare(x, y);
        });
        body.append(...rows);
      });
    });
  }

  // Paper shows folded parts too, unless they fill pages.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")]
      .filter((part) => part.querySelectorAll("tr").length <= 80);
    folded.forEach((part) => { part.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
})();
