// The tables of a retrieval run as they are searched and sorted now, for paste.js; read from what the page shows.
"use strict";

// Why a cell has no number is exported in English.
const english = (cell) => fixed.find(([at]) => at === cell.firstElementChild)?.[2] ?? cell.textContent.trim();
const tables = made.filter((table) => table.table().node().dataset.task !== undefined);
const spans = (cell) => /\[(.*), (.*)\]/u.exec(cell.querySelector(".interval")?.textContent ?? "");
// What is best is told by it; scores that are printed alike are alike.
const worth = (cell, { unit, less }) => {
  if (cell.dataset.order === "") return null;
  const value = Number(cell.dataset.order);
  return unit === "score" ? Number((100 * value).toFixed(2)) : less === undefined ? value : -value;
};
const searched = () => tables.map((table) => {
  const node = table.table().node();
  const columns = [...node.tHead.rows[0].cells].filter((head) => head.dataset.metric !== undefined);
  const rows = table.rows({ order: "applied", search: "applied" }).nodes().toArray().map((row) => ({
    rank: row.cells[0].textContent.trim(),
    names: { ...row.dataset, entry: row.querySelector("th bdi").textContent },
    cells: [...row.querySelectorAll("td.score")],
  }));
  return { task: node.dataset.task, columns, rows };
});

const exported = tables.length
  ? {
      tidy: () => searched().flatMap(({ task, columns, rows }) => rows.flatMap(({ rank, names, cells }) => columns.map((head, c) => {
        const [, low, high] = spans(cells[c]) ?? [];
        const value = cells[c].dataset.order;
        const { entry, encoder, pooling, fit_on, dim } = names;
        return {
          rank: rank === "–" ? null : Number(rank), encoder, pooling, entry, fit_on, dim: dim === "-" ? null : Number(dim), task, metric: head.dataset.metric,
          value: value === "" ? null : Number(value), low: low === undefined ? null : Number((low / 100).toFixed(4)),
          high: high === undefined ? null : Number((high / 100).toFixed(4)), reason: value === "" ? cells[c].title : "",
        };
      }))),
      grids: () => searched().map(({ task, columns, rows }) => {
        const top = columns.map((head, c) => {
          const numbers = rows.map(({ cells }) => cells[c].dataset.order).filter((v) => v !== "").map(Number);
          return head.dataset.unit === "score" && numbers.length > 1 ? Math.max(...numbers) : null;
        });
        return {
          title: task,
          about: `${task}, scores x 100`,
          columns: columns.map((head) => head.dataset.head),
          metric: "",
          feet: [],
          lines: rows.map(({ rank, names, cells }) => ({
            names: [rank === "–" ? "-" : rank, names.encoder, names.pooling, names.entry, names.fit_on],
            cells: cells.map((cell, c) => ({
              text: cell.querySelector(".value")?.textContent.trim() ?? english(cell),
              span: cell.querySelector(".interval")?.textContent ?? "",
              best: cell.dataset.order !== "" && Number(cell.dataset.order) === top[c],
              ends: (spans(cell) ?? []).slice(1),
              clear: cell.querySelector(".delta.up") ? 1 : cell.querySelector(".delta.down") ? -1 : 0,
              value: worth(cell, columns[c].dataset),
              none: cell.dataset.order === "",
            })),
          })),
        };
      }),
    }
  : null;
