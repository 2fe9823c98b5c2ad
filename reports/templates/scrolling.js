// Tables that are wider than the page say so at the edge; those that fit need no box of their own, and keep their head in sight.
"use strict";

const TALL = 2400; // pixels from which a table that is also wide scrolls in its own box

const scrollers = [...document.querySelectorAll(".scroll")];
const hint = (box) => {
  const { scrollLeft, scrollWidth, clientWidth } = box;
  box.classList.toggle("before", scrollLeft > 4);
  box.classList.toggle("after", scrollWidth - clientWidth - scrollLeft > 4);
};
const fitBox = (box) => {
  const table = box.querySelector("table");
  if (!table || !box.offsetWidth) return;
  const wide = table.offsetWidth > box.parentElement.clientWidth + 1;
  box.classList.toggle("fits", !wide);
  box.classList.toggle("tall", wide && table.offsetHeight > TALL);
  hint(box);
  const said = notes.get(box);
  if (said) said.hidden = !wide;
};
const notes = new WeakMap();
const watched = new ResizeObserver((seen) => {
  for (const { target } of seen) fitBox(target.closest(".scroll") ?? target);
});
for (const box of scrollers) {
  const note = document.createElement("p");
  note.className = "quiet sideways";
  note.hidden = true;
  box.before(note);
  fix(note, "scroll sideways for more columns →");
  notes.set(box, note);
  box.addEventListener("scroll", () => hint(box), { passive: true });
  watched.observe(box);
  watched.observe(box.querySelector("table") ?? box);
}
