// Pinned rows pass every filter and stay in sight: each stands in its place, and sticks to the edge it would scroll beyond.
"use strict";

const SHARE = 0.5; // of the visible height that pinned rows may take; those beyond it scroll like any other

const pinning = (made, board, rows) => {
  const pin = byId("pin");
  const frame = board.closest(".scroll");
  const holds = (i) => pin.value !== "" && (rows[i].baseline || (pin.value === "raw" && rows[i].entry === data.reference));
  const stick = () => {
    for (const row of board.querySelectorAll("tr.pinned")) row.classList.remove("pinned");
    frame.classList.toggle("pinning", pin.value !== "");
    if (pin.value === "") return;
    const head = getComputedStyle(board.tHead.rows[0].cells[0]).position === "sticky" ? board.tHead.offsetHeight : 0;
    const shown = made.rows({ order: "applied", search: "applied", page: "current" }).indexes().toArray();
    const held = [];
    let room = SHARE * frame.clientHeight;
    for (const i of shown) {
      if (!holds(i)) continue;
      const row = made.row(i).node();
      room -= row.offsetHeight;
      if (room < 0) break;
      held.push([row, row.offsetHeight]);
    }
    let above = head;
    let below = held.reduce((sum, [, height]) => sum + height, 0);
    for (const [row, height] of held) {
      below -= height;
      row.classList.add("pinned");
      row.style.setProperty("--above", `${above}px`);
      row.style.setProperty("--below", `${below}px`);
      above += height;
    }
  };
  made.on("draw", stick);
  new ResizeObserver(stick).observe(board);
  return { pin, holds };
};
