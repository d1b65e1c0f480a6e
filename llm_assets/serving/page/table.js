// Tables that are as wide as they need to be, and scroll by themselves on narrow screens.

import { element } from "./dom.js";

// columns: objects with `title` (none for a bar or plot) and flags: numeric; heads: its cells name their rows; plot: a
// bar or plot; breakable: long words may be broken. rows: lists of texts and nodes, one for each column.
// isCurrent(place): whether a row stands out.
export function table(label, columns, rows, isCurrent = () => false) {
  const head = columns.map((column) =>
    column.title ? element("th", { scope: "col", class: classOf(column) }, column.title) : element("td", {}),
  );
  const line = (row, place) => {
    const cells = row.map((content, column) => cell(columns[column], content));
    return element("tr", { class: isCurrent(place) ? "current" : null }, ...cells);
  };
  return element(
    "div",
    { class: "wide", role: "region", "aria-label": label, tabindex: "0" },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows.map(line))),
  );
}

function cell(column, content) {
  if (column.heads) return element("th", { scope: "row", class: classOf(column) }, content);
  return element("td", { class: classOf(column) }, content);
}

function classOf({ numeric, plot, breakable }) {
  return [numeric && "n", plot && "plot", breakable && "breakable"].filter(Boolean).join(" ") || null;
}

// A bar whose length is a share of its column.
export function bar(share) {
  const node = element("span", { class: "bar" });
  node.style.setProperty("--share", share);
  return node;
}

// Names with their values; those without a value are left out.
export function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    { class: "facts" },
    ...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}
