// Plain tables that are sorted by their headings, searched and filtered together; whole without it. facets.js stands above.
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
  const asked = made
    .filter((table) => !table.table().node().closest("#clouds"))
    .map((table) => ({ table, rows: table.rows({ order: "index" }).nodes().toArray() }));
  const texts = new Map(asked.flatMap(({ rows }) => rows.map((row) => [row, row.textContent.toLowerCase()])));
  const show = byId("show");
  const count = byId("count");
  const tell = () => {
    const left = asked.reduce((sum, { table }) => sum + table.page.info().recordsDisplay, 0);
    count.textContent = left === texts.size ? "" : say(`${left} of ${texts.size} rows`);
    for (const empty of document.querySelectorAll("td.dt-empty")) empty.textContent = say("no row is left");
  };
  const draw = () => {
    const wanted = search.value.toLowerCase().split(/\s+/u).filter(Boolean);
    for (const { table, rows } of asked) {
      const met = new Set();
      const kept = rows.map((row) => {
        if (!wanted.every((w) => texts.get(row).includes(w)) || !picked(row)) return false;
        if (!show?.value) return true;
        if (show.value === "front") return row.dataset.front !== undefined;
        // rows stand by their quality, so that the first one met is the best
        const kind = row.dataset[show.value];
        return !met.has(kind) && Boolean(met.add(kind));
      });
      table.search.fixed("view", (_text, _row, i) => kept[i]).draw();
    }
    tell();
    keep();
  };
  let restoring = true;
  const keep = () => {
    if (restoring) return;
    const sorts = asked.map(({ table }, i) => [i, ...(table.order()[0] ?? [])]).filter(([, , way]) => way);
    address.set({ q: search.value, show: show?.value ?? "", sort: sorts.map((sort) => sort.join(".")), ...pickedNow() });
  };
  const picked = facets([...texts.keys()], (row, facet) => row.dataset[facet], draw);
  search.addEventListener("input", draw);
  show?.addEventListener("change", draw);
  byId("reset")?.addEventListener("click", () => {
    search.value = "";
    if (show) show.value = "";
    unpick();
    for (const { table } of asked) table.order([]);
    draw();
  });
  told.add(tell);
  search.value = address.get("q") ?? "";
  const asking = address.get("show");
  if (show && asking && [...show.options].some((option) => option.value === asking)) show.value = asking;
  pickAgain();
  for (const sort of address.all("sort")) {
    const [, i, place, way] = /^(\d+)\.(\d+)\.(asc|desc)$/u.exec(sort) ?? [];
    const table = asked[i]?.table;
    if (table && Number(place) < table.columns().count()) table.order([Number(place), way]);
  }
  if (location.hash.includes("=")) draw();
  restoring = false;
  for (const { table } of asked) table.on("order", keep);
  byId("tools").hidden = false;
}
