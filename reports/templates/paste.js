// The view as CSV, JSON, Markdown or LaTeX: made here, shown as text to copy, and offered as a file.
"use strict";

const NAMES = ["encoder", "pooling", "entry", "fit_on"];
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
        task: data.columns[c].task, n: data.columns[c].n, metric, value: value ?? null, low: low ?? null, high: high ?? null,
        delta: delta ?? null, delta_low: deltaLow ?? null, delta_high: deltaHigh ?? null,
        level_with_best: has && metric === "spearman" ? mark > 0 : null, reason: has ? "" : data.reasons[cell][1],
      };
    }),
  );
};
const quoted = (value) => {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

// The table of the view: names, then cells that are the best of the view or not.
const lines = () => {
  const cells = current.cells();
  const columns = current.columns();
  const rows = current.rows();
  const numbers = (c) => rows.map((i) => cells[i][c]).filter(Array.isArray).map((cell) => cell[0]);
  const tops = new Map(columns.map((c) => [c, numbers(c).length > 1 ? Math.max(...numbers(c)) : null]));
  return rows.map((i) => ({
    names: [String(data.rows[i].rank ?? "-"), ...NAMES.map((n) => data.rows[i][n] + (n === "encoder" && data.rows[i].baseline ? " (baseline)" : ""))],
    cells: columns.map((c) => {
      const cell = cells[i][c];
      if (!Array.isArray(cell)) return { text: data.reasons[cell][0], span: "", best: false, none: true };
      return { text: shown(cell[0]), span: between(cell[1], cell[2]), best: cell[0] === tops.get(c), none: false };
    }),
  }));
};
const oneLine = (text) => text.split(/\s+/u).filter(Boolean).join(" ");
const md = (text) => oneLine(text).replace(/([\\`*_|<>[\]#~&$])/gu, "\\$1");
const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
const tex = (text) => [...oneLine(text)].map((c) => TEX[c] ?? ("&%$#_{}".includes(c) ? `\\${c}` : c)).join("");

const FORMATS = {
  csv: () => {
    const rows = tidy();
    const heads = Object.keys(rows[0] ?? { rank: 0 });
    return [heads.join(","), ...rows.map((row) => heads.map((h) => quoted(row[h])).join(","))].join("\n") + "\n";
  },
  json: () => `[\n${tidy().map((row) => JSON.stringify(row)).join(",\n")}\n]\n`,
  md: () => {
    const heads = ["#", ...NAMES, ...current.columns().map((c) => data.columns[c].task)].map((h) => (h === "#" ? h : md(h)));
    const bars = (cells) => `| ${cells.join(" | ")} |`;
    const under = heads.map((_, i) => (i && i < 5 ? "---" : "--:"));
    const body = lines().map(({ names, cells }) =>
      bars([...names.map(md), ...cells.map(({ text, span, best }) => `${best ? `**${text}**` : md(text)} ${span}`.trim())]),
    );
    return [bars(heads), bars(under), ...body].join("\n") + "\n";
  },
  tex: () => {
    const columns = current.columns();
    const row = (cells) => `${cells.join(" & ")} \\\\`;
    const body = lines().map(({ names, cells }) =>
      row([...names.map(tex), ...cells.map(({ text, span, best, none }) => {
        if (none) return "--";
        return `${best ? `\\textbf{${text}}` : text}${span ? ` {\\scriptsize ${span}}` : ""}`;
      })]),
    );
    const heads = ["#", ...NAMES, ...columns.map((c) => data.columns[c].task)].map(tex);
    return [
      `% ${oneLine(document.title)}: ${data.metrics[current.metric()].name} x 100; \\usepackage{booktabs}, and ctex (XeLaTeX) for Chinese names`,
      `\\begin{tabular}{rllll${"r".repeat(columns.length)}}`, "\\toprule", row(heads), "\\midrule", ...body, "\\bottomrule", "\\end{tabular}",
    ].join("\n") + "\n";
  },
};
const KINDS = { csv: "text/csv", json: "application/json", md: "text/markdown", tex: "application/x-tex" };

if (current) {
  const sheet = byId("paste");
  const area = byId("paste-text");
  const file = byId("paste-file");
  let address = null;
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => {
      const kind = button.dataset.format;
      area.value = FORMATS[kind]();
      byId("paste-title").textContent = button.textContent;
      byId("paste-done").textContent = "";
      if (address) URL.revokeObjectURL(address);
      address = URL.createObjectURL(new Blob([area.value], { type: `${KINDS[kind]};charset=utf-8` }));
      file.href = address;
      file.download = `${document.querySelector("header code").textContent.replace(/[^\w.-]+/gu, "_")}.${kind}`;
      sheet.showModal();
      area.focus();
      area.select();
    });
  }
  byId("paste-copy").addEventListener("click", async () => {
    area.select();
    let done = document.execCommand("copy");
    if (!done) done = await navigator.clipboard?.writeText(area.value).then(() => true, () => false);
    byId("paste-done").textContent = say(done ? "copied" : "press Ctrl+C to copy");
  });
  byId("paste-close").addEventListener("click", () => sheet.close());
}
