// English and 中文: fixed words are marked in the page (data-t: the text, data-ta: these attributes); names never are.
"use strict";

const words = JSON.parse(document.getElementById("words").textContent);
const patterns = words.patterns.map(([found, put]) => [new RegExp(`^${found}$`, "u"), put]);
let chinese = false;

const known = (text) => {
  if (Object.hasOwn(words.words, text)) return words.words[text];
  for (const [found, put] of patterns) if (found.test(text)) return text.replace(found, put);
  return null;
};
// A sentence that is not known as a whole is one of parts: "ATEC:test: 20,000 pairs; binary labels".
const say = (text) => {
  if (!chinese || !text) return text;
  return known(text) ?? text.split("; ").map((part) => known(part) ?? part).join("；");
};

const fixed = []; // [element, attribute or null for its text, English]
const fix = (element, text = element.textContent) => {
  fixed.push([element, null, text]);
  element.textContent = say(text);
};
for (const element of document.querySelectorAll("[data-t]")) fixed.push([element, null, element.textContent]);
for (const element of document.querySelectorAll("[data-ta]"))
  for (const name of element.dataset.ta.split(" ")) fixed.push([element, name, element.getAttribute(name)]);

const told = new Set(); // what else is to be said again in the other language
const switchTo = (language) => {
  chinese = language === "zh";
  document.documentElement.lang = chinese ? "zh-Hans" : "en";
  for (const [element, name, text] of fixed) {
    if (name) element.setAttribute(name, say(text));
    else element.textContent = say(text);
  }
  const button = document.getElementById("language");
  button.textContent = chinese ? "English" : "中文";
  button.lang = chinese ? "en" : "zh-Hans";
  for (const tell of told) tell();
  document.dispatchEvent(new CustomEvent("hengyu-language"));
};

// Sentences of cells are many and seldom read: each is put into the language when it is pointed at.
const spoken = new WeakMap();
document.addEventListener("pointerover", (event) => {
  const cell = event.target.closest?.("td[title]");
  if (!cell) return;
  const last = spoken.get(cell);
  const english = last && last.shown === cell.title ? last.english : cell.title;
  cell.title = say(english);
  spoken.set(cell, { english, shown: cell.title });
});

// The language of the address, else that of the browser.
const wanted = () => address.get("lang") ?? (/^zh\b/iu.test(navigator.languages?.[0] ?? navigator.language ?? "") ? "zh" : "en");
document.getElementById("language").addEventListener("click", () => {
  const language = chinese ? "en" : "zh";
  address.set({ lang: language });
  switchTo(language);
});
addEventListener("hashchange", () => {
  if (address.changed()) return location.reload();
  if (address.get("lang")) switchTo(wanted());
});
document.getElementById("language").hidden = false;
window.hengyuSay = say; // for the charts' script
