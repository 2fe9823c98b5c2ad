// What is shown stands in the address (#lang=zh&q=whitening&sort=...), so that a link keeps it and nothing is stored.
"use strict";

const address = (() => {
  // an address without "=" names a section of the page
  const read = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  let last = null;
  const write = (params) => {
    const text = params.toString();
    last = text ? `#${text}` : "";
    history.replaceState(null, "", last || location.href.split("#")[0]);
  };
  return {
    get: (name) => read().get(name),
    all: (name) => read().getAll(name),
    // values: nothing, a text, or a list of texts
    set: (values) => {
      const params = read();
      for (const [name, value] of Object.entries(values)) {
        params.delete(name);
        for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") params.append(name, one);
      }
      if (params.toString() !== read().toString()) write(params);
    },
    // whether the view, the language apart, is another than this page has written
    changed: () => {
      const apart = (hash) => {
        const params = new URLSearchParams((hash ?? "").includes("=") ? hash.slice(1) : "");
        params.delete("lang");
        return params.toString();
      };
      return location.hash.includes("=") && apart(location.hash) !== apart(last ?? opened);
    },
  };
})();
const opened = location.hash;

// Links within the page keep the view in the address, and open what they lead to.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link) return;
  const target = document.getElementById(link.getAttribute("href").slice(1));
  if (!target) return;
  const folded = target.querySelector(":scope > details.folded");
  if (folded) folded.open = true;
  if (!location.hash.includes("=")) return;
  event.preventDefault();
  target.scrollIntoView();
  target.tabIndex = -1;
  target.focus({ preventScroll: true });
});
