// The board: sorting, filters, metrics, columns. The tables are whole without it; DataTables, language.js, sorting.js, facets.js and pinning.js stand above.
"use strict";

const board = byId("board");
const data = JSON.parse(byId("board-data").textContent);
const PAGE = 100; // rows a page of a long board, whose further rows the style sheet keeps back until then
const BEST = 1;
const TIED = 2;
const shown = (value, signed) => (signed && value >= 0 ? "+" : "") + value.toFixed(2);
const between = (low, high, signed) => (low == null || high == null ? "" : `[${shown(low, signed)}, ${shown(high, signed)}]`);
const clear = ([, , , , low, high]) => (low == null || high == null ? 0 : (low > 0) - (high < 0));

const startBoard = () => {
  const heads = [...board.tHead.rows[0].cells].map((head, place) => ({
    place,
    title: head.querySelector("abbr"),
    score: head.dataset.column === undefined ? null : Number(head.dataset.column),
    change: head.dataset.change !== undefined,
    entry: head.classList.contains("entry"),
    same: head.classList.contains("same"),
  }));
  const numeric = (head) => head.classList.contains("number") && !head.classList.contains("size");
  const made = new DataTable(board, {
    columns: [...board.tHead.rows[0].cells].map((head) => {
      const ariaTitle = head.querySelector("abbr").textContent;
      if (numeric(head)) return { ariaTitle, type: "score", orderSequence: ["desc", "asc", ""] };
      if (head.matches(".rank, .size")) return { ariaTitle, type: "score", orderSequence: ["asc", "desc", ""] };
      return { ariaTitle, orderSequence: ["asc", "desc", ""] };
    }),
    paging: board.classList.contains("large"),
    pageLength: PAGE,
    info: false,
    order: [],
    autoWidth: false,
    orderMulti: false,
    layout: { topStart: null, topEnd: null, bottomStart: board.classList.contains("large") ? "paging" : null, bottomEnd: null },
    language: { emptyTable: " ", zeroRecords: " " },
  });
  const { rows, columns } = data;
  if (board.classList.contains("large")) {
    board.classList.remove("large");
    addEventListener("beforeprint", () => made.page.len(-1).draw());
    addEventListener("afterprint", () => made.page.len(PAGE).draw());
  }

  // What is shown: rows that hold the words, are picked, and are the best of their kind where that is asked for.
  const search = byId("search");
  const show = byId("show");
  const baselines = byId("baselines");
  const { pin, holds } = pinning(made, board, rows);
  const texts = rows.map((r) => [r.entry, r.encoder, r.pooling, r.fit_on, r.baseline ? "baseline" : ""].join(" ").toLowerCase());
  const word = (row, facet) => (row[facet] == null ? "-" : String(row[facet]));
  const level = (i) => {
    const cell = data.main === null ? null : data.metrics[data.metric].cells[i][data.main];
    return Array.isArray(cell) && (cell[7] & (BEST | TIED)) > 0;
  };
  let kept = rows.map(() => true);
  const weigh = () => {
    const wanted = search.value.toLowerCase().split(/\s+/u).filter(Boolean);
    const met = new Set();
    kept = rows.map((row, i) => {
      if (holds(i)) return true;
      if (!wanted.every((w) => texts[i].includes(w))) return false;
      if (row.baseline && baselines.checked) return true;
      if (!picked(row)) return false;
      if (show.value === "tied") return level(i);
      if (!show.value) return true;
      // rows stand by their mean, so that the first one met is the best
      const kind = word(row, show.value);
      return !met.has(kind) && Boolean(met.add(kind));
    });
  };
  made.search.fixed("view", (_text, _row, i) => kept[i]);
  const count = byId("count");
  const tell = () => {
    const { recordsDisplay, recordsTotal } = made.page.info();
    count.textContent = recordsDisplay === recordsTotal ? "" : say(`${recordsDisplay} of ${recordsTotal} rows`);
    const empty = board.querySelector("td.dt-empty");
    if (empty) empty.textContent = say("no row is left; Reset shows all");
  };
  let restoring = true;
  const keep = () => {
    if (restoring) return;
    const [sorted] = made.order();
    address.set({
      q: search.value,
      show: show.value,
      pin: pin.value,
      metric: metric.value === data.metric ? "" : metric.value,
      baselines: baselines.checked ? "" : "0",
      shades: heat.checked ? "" : "0",
      sort: sorted?.[1] ? `${sorted[0]}.${sorted[1]}` : "",
      ...pickedNow(),
    });
  };
  const draw = () => {
    weigh();
    made.draw();
    tell();
    keep();
  };
  told.add(tell);
  const picked = facets(rows, word, draw);

  // Columns: those that are picked and have a number under the metric.
  const metric = byId("metric");
  const hidden = new Set();
  const cellsOf = () => data.metrics[metric.value].cells;
  const settle = () => {
    const cells = cellsOf();
    const filled = (c) => cells.some((line) => Array.isArray(line[c]));
    for (const head of heads) {
      const empty = head.score !== null ? !filled(head.score) : head.change && !filled(data.main);
      const visible = !hidden.has(head.place) && !(empty && metric.value !== data.metric);
      if (made.column(head.place).visible() !== visible) made.column(head.place).visible(visible, false);
    }
  };

  const change = (cell) => {
    const way = clear(cell);
    return element("small", `delta${["", " up", " down"].at(way)}`, ["", "▲", "▼"].at(way) + shown(cell[3], true));
  };
  const about = (column, cell) => {
    const parts = [`${column.task}: ${data.metrics[metric.value].name} ${shown(cell[0])}`];
    if (cell[1] != null) parts.push(`${100 * data.level} % confidence interval ${between(cell[1], cell[2])}`);
    if (cell[3] != null) parts.push(`difference ${shown(cell[3], true)} ${between(cell[4], cell[5], true)}`);
    return parts.join("; ");
  };
  const write = (node, cell, c) => {
    const has = Array.isArray(cell);
    const mark = has ? cell[7] ?? 0 : 0;
    node.className = "score" + (mark & BEST ? " best" : mark & TIED ? " level" : "") + (has ? "" : " none") + (has && cell[6] != null ? ` h${cell[6]}` : "");
    node.dataset.order = has ? cell[0] : "";
    node.replaceChildren();
    if (!has) {
      const [text, why] = data.reasons[cell];
      node.title = `${columns[c].task}: ${why}`;
      node.append(element("span", "word", text));
      fix(node.lastChild);
      return;
    }
    node.title = about(columns[c], cell);
    node.append(element("span", "value", shown(cell[0])));
    if (cell[3] != null && c !== data.main) node.append(" ", change(cell));
    if (cell[1] != null) node.append(element("small", "interval", between(cell[1], cell[2])));
    if (cell[8]) node.append(element("small", "spread", cell[8]));
  };
  const title = byId("board-metric");
  const weighBy = () => {
    const cells = cellsOf();
    for (const head of heads) {
      if (head.score === null && !head.change) continue;
      made.column(head.place).nodes().each((node, i) => {
        if (head.score !== null) return write(node, cells[i][head.score], head.score);
        const cell = cells[i][data.main];
        const has = Array.isArray(cell) && cell[3] != null;
        node.dataset.order = has ? cell[3] : "";
        node.replaceChildren(...(has ? [change(cell), element("small", "interval", between(cell[4], cell[5], true))] : []));
      });
    }
    const entry = fixed.find(([at]) => at === title);
    entry[2] = data.metrics[metric.value].name;
    title.textContent = say(entry[2]);
    made.rows().invalidate("dom");
    settle();
    draw();
  };
  for (const [key, { name }] of Object.entries(data.metrics)) {
    const option = new Option(name, key);
    metric.add(option);
    fix(option);
  }

  for (const pick of picks.filter(({ dataset }) => dataset.pick === "columns")) {
    for (const head of heads.filter(({ entry, same }) => !entry && !same)) {
      box(pick, head.title.textContent, true, head.title.querySelector("[data-t]") !== null, (on) => {
        hidden[on ? "delete" : "add"](head.place);
        settle();
        keep();
        return hidden.size ? `(−${hidden.size})` : "";
      });
    }
  }

  search.addEventListener("input", draw);
  show.addEventListener("change", draw);
  baselines.addEventListener("change", draw);
  pin.addEventListener("change", draw);
  metric.addEventListener("change", weighBy);
  const heat = byId("heat");
  const shade = () => {
    board.classList.toggle("heat", heat.checked);
    keep();
  };
  heat.addEventListener("change", shade);
  byId("reset").addEventListener("click", () => {
    search.value = "";
    show.value = pin.value = "";
    baselines.checked = heat.checked = true;
    unpick();
    shade();
    made.order([]);
    metric.value = data.metric;
    weighBy();
  });

  // the view that the address asks for
  const choose = (select, value) => {
    if (value && [...select.options].some((option) => option.value === value)) select.value = value;
  };
  search.value = address.get("q") ?? "";
  choose(show, address.get("show"));
  choose(pin, address.get("pin"));
  choose(metric, address.get("metric"));
  baselines.checked = address.get("baselines") !== "0";
  heat.checked = address.get("shades") !== "0";
  pickAgain();
  shade();
  const [, place, way] = /^(\d+)\.(asc|desc)$/u.exec(address.get("sort") ?? "") ?? [];
  if (place !== undefined && Number(place) < heads.length) made.order([Number(place), way]);
  if (location.hash.includes("=")) weighBy();
  restoring = false;
  made.on("order", keep);

  byId("tools").hidden = false;
  return {
    metric: () => metric.value,
    rows: () => made.rows({ order: "applied", search: "applied" }).indexes().toArray(),
    columns: () => heads.filter((head) => head.score !== null && made.column(head.place).visible()).map((head) => head.score),
    cells: cellsOf,
  };
};

const current = board ? startBoard() : null;
