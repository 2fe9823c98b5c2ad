// How columns of numbers sort, wherever DataTables is used. It and language.js stand above.
"use strict";

// A cell without a number stays last, whichever way the column is sorted.
const order = DataTable.ext.type.order;
const number = (cell) => (cell === "" || cell === null || cell === undefined ? null : Number(cell));
const last = (sign) => (a, b) => {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (a - b);
};
order["score-pre"] = number;
order["score-asc"] = last(1);
order["score-desc"] = last(-1);

const byId = (id) => document.getElementById(id);
