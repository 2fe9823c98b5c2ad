// Draws one view (a task under an encoder and pooling) of the series that stand in the page as JSON.
"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const picture = read("chart-spec");
  const series = read("chart-series");
  const place = document.getElementById("chart");
  const task = document.getElementById("chart-task");
  const space = document.getElementById("chart-space");
  const spaceOf = (s) => JSON.stringify([s.encoder, s.pooling]);

  const fill = (select, values, label) => {
    for (const value of new Set(values)) select.add(new Option(label(value), value));
  };
  fill(task, series.map((s) => s.task), (t) => t);
  fill(space, series.map(spaceOf), (s) => JSON.parse(s).join(", "));

  const points = () =>
    series
      .filter((s) => s.task === task.value && spaceOf(s) === space.value)
      .flatMap((s) =>
        s.dim.map((dim, i) => ({
          method: s.method, dim, value: s.value[i], low: s.low[i], high: s.high[i], marked: s.marked[i],
        })),
      );

  let shown = null;
  let turn = 0;
  const draw = async () => {
    const mine = ++turn;
    const made = await vegaEmbed(place, { ...picture, datasets: { points: points() } }, {
      ast: true, // the expression interpreter: the page's policy forbids eval
      actions: false,
      renderer: "svg",
      defaultStyle: false,
    });
    if (mine !== turn) return made.finalize();
    if (shown) shown.finalize();
    shown = made;
    place.dataset.chart = "ready";
  };
  task.addEventListener("change", draw);
  space.addEventListener("change", draw);
  document.getElementById("chart-tools").hidden = false;
  draw();
})();
