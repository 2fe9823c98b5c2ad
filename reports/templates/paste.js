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
  tex: () => exported.grids().map(({ about, columns, lines }) => {
    const row = (cells) => `${cells.join(" & ")} \\\\`;
    const body = lines.map(({ names, cells }) =>
      row([...names.map(tex), ...cells.map(({ text, span, best, none }) => {
        if (none) return "--";
        return `${best ? `\\textbf{${tex(text)}}` : tex(text)}${span ? ` {\\scriptsize ${span}}` : ""}`;
      })]),
    );
    return [
      `% ${oneLine(document.title)}: ${oneLine(about)}; \\usepackage{booktabs}, and ctex (XeLaTeX) for Chinese names`,
      `\\begin{tabular}{rllll${"r".repeat(columns.length)}}`, "\\toprule", row(["#", ...NAMES, ...columns].map(tex)), "\\midrule",
      ...body, "\\bottomrule", "\\end{tabular}",
    ].join("\n") + "\n";
  }).join("\n"),
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
