// The view as CSV, JSON, Markdown or LaTeX: made here, shown as text to copy, and offered as a file.
// What the view is, boardview.js or searchview.js says above: tidy() are its numbers, grids() its tables.
"use strict";

const quoted = (value) => {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

const oneLine = (text) => text.split(/\s+/u).filter(Boolean).join(" ");
const md = (text) => oneLine(text).replace(/([\\`*_|<>[\]#~&$])/gu, "\\$1");
const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}" };
const tex = (text) => [...oneLine(text)].map((c) => TEX[c] ?? ("&%$#_{}".includes(c) ? `\\${c}` : c)).join("");

// A grid as a table for a paper, as runners/hengyu/report/exports/{grid,paper}.py make it of a whole run.
const paper = (grid) => {
  const { reference, level, title, run } = byId("tools").dataset;
  const { metric, feet, tasks = [], baselines = [] } = grid;
  const order = grid.order ?? grid.columns.map((_, i) => i);
  const places = order.map((_, i) => i).sort((a, b) => order[a] - order[b]);
  const splits = new Set(grid.columns.filter((_, i) => tasks[i]).map((t) => t.slice(t.lastIndexOf(":") + 1)));
  const cut = splits.size === 1 && tasks.filter(Boolean).length > 1;
  const columns = places.map((i) => (cut && tasks[i] ? grid.columns[i].slice(0, grid.columns[i].lastIndexOf(":")) || grid.columns[i] : grid.columns[i]));
  const plain = (text) => text.replace(/ \(baseline\)$/u, "");
  const whole = grid.lines.map(({ names: [, encoder, pooling, entry, fitOn], cells }, k) => ({
    group: baselines[k] ? "baselines" : encoder,
    names: [baselines[k] ? plain(encoder) : entry, pooling, fitOn],
    cells: places.map((i) => cells[i]),
  }));
  const own = whole.filter(({ group }) => group !== "baselines");
  const kept = [0, 1, 2].filter((i) => i === 0 || new Set((own.length ? own : whole).map(({ names }) => names[i])).size > 1);
  const groups = [...new Set(whole.map(({ group }) => group))].sort((a, b) => (a === "baselines") - (b === "baselines"));
  const lines = groups.flatMap((name) => whole.filter(({ group }) => group === name));
  const tops = columns.map((_, i) => {
    const values = lines.map(({ cells }) => cells[i].value).filter((v) => v !== null);
    const best = values.length > 1 ? Math.max(...values) : null;
    const rest = values.length > 2 ? values.filter((v) => v < best) : [];
    return [best, rest.length ? Math.max(...rest) : null];
  });
  const cell = ({ text, none, ends = [], clear, value }, i) => {
    if (none) return "--";
    const place = value === null ? -1 : tops[i].indexOf(value);
    const shownAs = [`\\textbf{${tex(text)}}`, `\\underline{${tex(text)}}`][place] ?? tex(text);
    return shownAs + ({ 1: "$^\\dagger$", "-1": "$^\\ddagger$" }[clear] ?? "") + (ends.length ? ` {\\scriptsize [${ends.join(", ")}]}` : "");
  };
  const all = lines.flatMap(({ cells }) => cells);
  const marks = [[1, "$^\\dagger$ significantly better"], [-1, "$^\\ddagger$ significantly worse"]].filter(([way]) => all.some(({ clear }) => clear === way));
  const told = [
    metric ? `${tex(metric)} $\\times$ 100.` : "Scores $\\times$ 100.",
    all.some(({ ends }) => ends?.length) ? `Small: ${100 * level}\\,\\% confidence intervals.` : "",
    marks.length ? `${marks.map(([, words]) => words).join(", ")} than ${tex(reference)} of the same encoder and pooling.` : "",
    tops.some(([best]) => best !== null) ? "Best in bold, second best underlined." : "",
  ].filter(Boolean).join(" ");
  const row = (cells) => `${cells.join(" & ")} \\\\`;
  const width = kept.length + columns.length;
  const body = [row([...kept.map((i) => tex(["method", "pooling", "fit_on"][i])), ...columns.map(tex)]), "\\midrule"];
  groups.forEach((name, g) => {
    if (groups.length > 1) body.push(...(g ? ["\\midrule"] : []), `\\multicolumn{${width}}{l}{\\textit{${tex(name)}}} \\\\`);
    for (const { names, cells } of lines.filter(({ group }) => group === name)) body.push(row([...kept.map((i) => tex(names[i])), ...cells.map(cell)]));
  });
  if (feet.length) body.push("\\midrule", ...feet.map(([word, cells]) => row([word, ...kept.slice(1).map(() => ""), ...places.map((i) => cells[i])])));
  const name = grid.title ? `${title}, ${grid.title}` : title;
  return [
    `% ${oneLine(run)}: \\usepackage{booktabs}, and ctex (XeLaTeX) for Chinese names`,
    "\\begin{table}[t]", "\\centering",
    `\\caption{${tex(name)}. ${told}}`,
    `\\label{tab:${(grid.title ? `${run}-${grid.title}` : run).replace(/[^\p{L}\p{N}_-]+/gu, "-")}}`,
    `\\begin{tabular}{${"l".repeat(kept.length)}${"r".repeat(columns.length)}}`, "\\toprule",
    ...body, "\\bottomrule", "\\end{tabular}", "\\end{table}",
  ].join("\n") + "\n";
};

const NAMES = ["encoder", "pooling", "entry", "fit_on"];
const FORMATS = {
  csv: () => {
    const rows = exported.tidy();
    const heads = Object.keys(rows[0] ?? { rank: 0 });
    return [heads.join(","), ...rows.map((row) => heads.map((h) => quoted(row[h])).join(","))].join("\n") + "\n";
  },
  json: () => `[\n${exported.tidy().map((row) => JSON.stringify(row)).join(",\n")}\n]\n`,
  md: () => exported.grids().map(({ title, columns, lines }) => {
    const heads = ["#", ...NAMES.map(md), ...columns.map(md)];
    const bars = (cells) => `| ${cells.join(" | ")} |`;
    const under = heads.map((_, i) => (i && i < 5 ? "---" : "--:"));
    const body = lines.map(({ names, cells }) =>
      bars([...names.map(md), ...cells.map(({ text, span, best }) => `${best ? `**${text}**` : md(text)} ${span}`.trim())]),
    );
    return [...(title ? [`**${md(title)}**`, ""] : []), bars(heads), bars(under), ...body].join("\n") + "\n";
  }).join("\n"),
  tex: () => exported.grids().map(paper).join("\n"),
};
const KINDS = { csv: "text/csv", json: "application/json", md: "text/markdown", tex: "application/x-tex" };

if (exported) {
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
