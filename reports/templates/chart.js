// Draws one view of every chart of the page from the JSON beside it, one chart after the other.
"use strict";
(() => {
  const say = (text) => (window.hengyuSay ? window.hengyuSay(text) : text);
  // the fixed words of a picture are its titles, and the values of these fields, as in the domains of their scales
  const WORDS = ["verdict", "rows", "label", "stage"];
  const said = (part, key) => {
    if (typeof part === "string") return key === "title" ? say(part) : part;
    if (Array.isArray(part)) return part.map((one) => said(one, ""));
    if (part === null || typeof part !== "object") return part;
    if (WORDS.includes(part.field) && part.scale?.domain) {
      const scale = { ...part.scale, domain: part.scale.domain.map(say) };
      part = { ...part, scale };
    }
    return Object.fromEntries(Object.entries(part).map(([name, one]) => [name, name === "data" ? one : said(one, name)]));
  };

  const start = (section) => {
    const { spec, facets, groups, start: first } = JSON.parse(section.querySelector("script").textContent);
    const place = section.querySelector(".picture");
    const selects = [...section.querySelectorAll("select")];
    const part = (group, fields) => JSON.stringify(fields.map((name) => group.same[name]));
    // a group without a name stands in every view: raw, beside each method
    const everywhere = (group, fields) => fields.every((name) => group.same[name] === null);
    selects.forEach((select, i) => {
      const named = groups.filter((group) => !everywhere(group, facets[i]));
      for (const value of new Set(named.map((group) => part(group, facets[i]))))
        select.add(new Option(JSON.parse(value).join(", "), value));
      // the view starts with what the page says, where the chart has it
      const wanted = [...select.options].find((option) =>
        facets[i].every((name, k) => first[name] === undefined || first[name] === JSON.parse(option.value)[k]));
      if (wanted) select.value = wanted.value;
      select.addEventListener("change", () => draw());
    });
    const points = () =>
      groups
        .filter((group) => selects.every((select, i) => everywhere(group, facets[i]) || part(group, facets[i]) === select.value))
        .flatMap(({ same: told, each }) => {
          const same = { ...told };
          for (const name of WORDS) if (name in same) same[name] = say(same[name]);
          const columns = Object.entries(each);
          const length = columns.length ? columns[0][1].length : 1;
          return Array.from({ length }, (_, i) => ({ ...same, ...Object.fromEntries(columns.map(([k, v]) => [k, v[i]])) }));
        });
    let shown = null;
    let turn = 0;
    const draw = async () => {
      const mine = ++turn;
      const made = await vegaEmbed(place, { ...said(spec, ""), datasets: { points: points() } }, {
        ast: true, // the expression interpreter: the page's policy forbids eval
        actions: false,
        renderer: "svg",
        defaultStyle: false,
      });
      if (mine !== turn) return made.finalize();
      if (shown) shown.finalize();
      shown = made;
      section.dataset.drawn = "ready";
    };
    const tools = section.querySelector(".tools");
    if (tools) tools.hidden = false;
    return draw;
  };

  // a chart in a folded part has no width yet; it is drawn when that is opened
  const charts = [...document.querySelectorAll("section.chart")].map((section) => ({ section, draw: start(section) }));
  const folded = ({ section }) => section.closest("details:not([open])") !== null;
  const all = async () => {
    for (const chart of charts) {
      delete chart.section.dataset.drawn;
      if (!folded(chart)) await chart.draw();
    }
    document.documentElement.dataset.charts = "ready";
  };
  for (const details of document.querySelectorAll("details.folded"))
    details.addEventListener("toggle", async () => {
      for (const chart of charts) if (details.open && details.contains(chart.section) && !chart.section.dataset.drawn) await chart.draw();
    });
  document.addEventListener("hengyu-language", all);
  addEventListener("load", () => setTimeout(all, 0));
})();
