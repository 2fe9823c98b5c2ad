// Sorting and searching; the tables are whole without it. DataTables stands above in the same module.
"use strict";

// A cell without a number stays last, whichever way the column is sorted.
const order = DataTable.ext.type.order;
const number = (cell) => (cell === "" || cell === null || cell === undefined ? null : Number(cell));
const last = (sign) => (a, b) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (a - b);
};
order["score-pre"] = number;
order["score-asc"] = last(1);
order["score-desc"] = last(-1);

const enhance = (table) => {
  const columns = [...table.tHead.rows[0].cells].map((head) => {
    const ariaTitle = head.querySelector("abbr").textContent;
    if (head.classList.contains("number"))
      return { ariaTitle, type: "score", orderSequence: ["desc", "asc", ""], searchable: false };
    if (head.classList.contains("rank"))
      return { ariaTitle, type: "score", orderSequence: ["asc", "desc", ""], searchable: false };
    return { ariaTitle, orderSequence: ["asc", "desc", ""] };
  });
  return new DataTable(table, {
    columns,
    paging: false,
    info: false,
    order: [],
    autoWidth: false,
    orderMulti: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    language: { emptyTable: "no rows", zeroRecords: "no row holds these words" },
  });
};

for (const table of document.querySelectorAll("table.board")) {
  const made = enhance(table);
  if (table.id !== "board") continue;
  const search = document.getElementById("search");
  const count = document.getElementById("count");
  const tell = () => {
    const { recordsDisplay, recordsTotal } = made.page.info();
    count.textContent = recordsDisplay === recordsTotal ? "" : `${recordsDisplay} of ${recordsTotal} rows`;
  };
  search.addEventListener("input", () => {
    made.search(search.value).draw();
    tell();
  });
  search.closest(".tools").hidden = false;
}
document.documentElement.dataset.tables = "ready";
