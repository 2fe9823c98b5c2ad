// Boxes that choose what is shown, one list for each facet of the rows (data-pick in the page), all of them one tool.
"use strict";

const element = (tag, name, text = "") => {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
};

const picks = [...document.querySelectorAll("[data-pick]")];
const boxes = []; // [box, whether it is checked at first, its facet, its value]
const box = (pick, text, on, isFixed, toggle) => {
  const label = element("label", "");
  const input = element("input", "");
  const name = element(isFixed ? "span" : "bdi", "", text);
  Object.assign(input, { type: "checkbox", checked: on });
  input.addEventListener("change", () => {
    pick.querySelector(".picked").textContent = toggle(input.checked);
  });
  if (isFixed) fix(name, text);
  label.append(input, " ", name);
  pick.querySelector("fieldset").append(label);
  boxes.push([input, on, pick.dataset.pick, text]);
};

// Numbers by size, what has none last; words as they come.
const bySize = (a, b) => (a === "-") - (b === "-") || a - b;

// Fills the lists with the values of the rows, and returns whether a row is among what is picked; nothing stands for all.
const facets = (rows, word, draw) => {
  const chosen = new Map();
  for (const pick of picks) {
    const facet = pick.dataset.pick;
    if (facet === "columns") continue;
    const values = [...new Set(rows.map((row) => word(row, facet)))];
    if (facet === "dim" || facet === "bytes") values.sort(bySize);
    pick.hidden = values.length < 2;
    const picked = new Set();
    chosen.set(facet, picked);
    for (const value of values) {
      box(pick, value, false, false, (on) => {
        picked[on ? "add" : "delete"](value);
        draw();
        return picked.size ? `(${picked.size})` : "";
      });
    }
  }
  return (row) => [...chosen].every(([facet, picked]) => !picked.size || picked.has(word(row, facet)));
};
// What is picked, for the address: facet -> values that are not as at first.
const pickedNow = () => {
  const found = Object.fromEntries(picks.map((pick) => [pick.dataset.pick, []]));
  for (const [input, on, facet, value] of boxes) if (input.checked !== on) found[facet].push(value);
  return found;
};
const pickAgain = () => {
  for (const [input, on, facet, value] of boxes)
    if (address.all(facet).includes(value) && input.checked === on) input.click();
};
const unpick = () => {
  for (const [input, on] of boxes) if (input.checked !== on) input.click();
};

const shut = (but) => picks.forEach((pick) => pick !== but && (pick.open = false));
document.addEventListener("click", (event) => shut(event.target.closest?.("[data-pick]")));
document.addEventListener("keydown", (event) => {
  const open = picks.find((pick) => pick.open);
  if (event.key !== "Escape" || !open) return;
  shut();
  open.querySelector("summary").focus();
});
