// The board as it is filtered and sorted now, for paste.js.
"use strict";

const unit = (value) => (value == null ? null : Number((value / 100).toFixed(4)));

// One number a line, in [-1, 1] as `hengyu export` has them, rounded as the page shows them.
const tidy = () => {
  const metric = current.metric();
  const cells = current.cells();
  return current.rows().flatMap((i) =>
    current.columns().map((c) => {
      const row = data.rows[i];
      const cell = cells[i][c];
      const has = Array.isArray(cell);
      const [value, low, high, delta, deltaLow, deltaHigh] = has ? cell.slice(0, 6).map(unit) : [];
      const mark = has ? cell[7] ?? 0 : 0;
      return {
        rank: row.rank, encoder: row.encoder, pooling: row.pooling, entry: row.entry, fit_on: row.fit_on, dim: row.dim,
        task: data.columns[c].task, n: data.columns[c].n, of: data.columns[c].of ?? null, metric, value: value ?? null, low: low ?? null, high: high ?? null,
        delta: delta ?? null, delta_low: deltaLow ?? null, delta_high: deltaHigh ?? null,
        level_with_best: has && metric === data.metric ? mark > 0 : null, reason: has ? "" : data.reasons[cell][1],
      };
    }),
  );
};
// The table of the view: names, then cells that are the best of the view or not.
const lines = () => {
  const cells = current.cells();
  const columns = current.columns();
  const rows = current.rows();
  const numbers = (c) => rows.map((i) => cells[i][c]).filter(Array.isArray).map((cell) => cell[0]);
  const tops = new Map(columns.map((c) => [c, numbers(c).length > 1 ? Math.max(...numbers(c)) : null]));
  return rows.map((i) => ({
    names: [String(data.rows[i].rank ?? "-"), ...["encoder", "pooling", "entry", "fit_on"].map((n) => data.rows[i][n] + (n === "encoder" && data.rows[i].baseline ? " (baseline)" : ""))],
    cells: columns.map((c) => {
      const cell = cells[i][c];
      if (!Array.isArray(cell)) return { text: data.reasons[cell][0], span: "", best: false, none: true, clear: 0, value: null };
      const [value, low, high] = cell;
      const ends = low == null || high == null ? [] : [shown(low), shown(high)];
      const counts = data.rows[i].unranked ? null : value;
      return { text: shown(value), span: between(low, high), ends, best: value === tops.get(c), none: false, clear: clear(cell), value: counts };
    }),
  }));
};

const feet = () => {
  const columns = current.columns().map((c) => data.columns[c]);
  const ceilings = columns.map(({ ceiling }) => (ceiling === null ? "" : shown(ceiling)));
  return [...(ceilings.some(Boolean) ? [["ceiling", ceilings]] : []), ["pairs", columns.map(({ n }) => String(n))]];
};

const exported = current
  ? {
      tidy,
      grids: () => [{
        title: "",
        about: `${data.metrics[current.metric()].name} x 100`,
        columns: current.columns().map((c) => data.columns[c].task),
        order: current.columns(),
        lines: lines(),
        metric: data.metrics[current.metric()].name,
        baselines: current.rows().map((i) => data.rows[i].baseline),
        tasks: current.columns().map((c) => data.columns[c].kind === "task"),
        feet: feet(),
      }],
    }
  : null;
