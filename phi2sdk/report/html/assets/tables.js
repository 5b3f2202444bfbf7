// Sort tables, and choose a measure of agreement.

function sortValue(row, column) {
  const cell = row.cells[column];
  const own = cell.dataset.sort;
  if (own !== undefined) return own === "inf" ? Infinity : Number(own);
  const number = parseFloat(cell.textContent.replace(/[~$,*>\s]/g, ""));
  return Number.isNaN(number) ? null : number;
}

/** Compare two rows. Unknown values come last in both directions. */
function compareRows(a, b, column, way) {
  const [x, y] = [sortValue(a, column), sortValue(b, column)];
  if (x === null && y === null) {
    return way * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
  }
  if (x === null) return 1;
  if (y === null) return -1;
  return way * (x < y ? -1 : x > y ? 1 : 0);
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compareRows(a, b, column, way)));
    });
  });
}

/** Show the matrix of the chosen measure only. */
function measures() {
  const choose = () => {
    const chosen = document.querySelector("#measure input:checked")?.value;
    for (const matrix of document.querySelectorAll(".matrix")) {
      matrix.hidden = matrix.dataset.measure !== chosen;
    }
  };
  $("measure").addEventListener("change", choose);
  choose();
}
