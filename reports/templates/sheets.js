// Plain tables that are sorted by their headings and searched together; whole without it.
"use strict";

const made = [...document.querySelectorAll("table.sorted")].map((table) => new DataTable(table, {
  columns: [...table.tHead.rows[0].cells].map((head) => {
    const ariaTitle = (head.querySelector("abbr") ?? head).textContent.trim();
    if (head.classList.contains("rank")) return { ariaTitle, type: "score", orderSequence: ["asc", "desc", ""] };
    if (head.classList.contains("number")) return { ariaTitle, type: "score", orderSequence: ["desc", "asc", ""] };
    return { ariaTitle, orderSequence: head.classList.contains("latest") ? ["desc", "asc", ""] : ["asc", "desc", ""] };
  }),
  paging: false,
  info: false,
  order: [],
  autoWidth: false,
  orderMulti: false,
  layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
  language: { emptyTable: " ", zeroRecords: " " },
}));

const search = byId("search");
if (search && !byId("board-data")) {
  // the leaderboard searches by itself, and the clouds are of entries that no search hides
  const asked = made.filter((table) => !table.table().node().closest("#clouds"));
  const count = byId("count");
  const tell = () => {
    let [left, all] = [0, 0];
    for (const table of asked) {
      const { recordsDisplay, recordsTotal } = table.page.info();
      left += recordsDisplay;
      all += recordsTotal;
    }
    count.textContent = left === all ? "" : say(`${left} of ${all} rows`);
  };
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase().split(/\s+/u).filter(Boolean);
    for (const table of asked) {
      const texts = table.rows().nodes().toArray().map((row) => row.textContent.toLowerCase());
      table.search.fixed("view", (_text, _row, i) => wanted.every((w) => texts[i].includes(w))).draw();
    }
    tell();
  });
  told.add(tell);
  byId("tools").hidden = false;
}
