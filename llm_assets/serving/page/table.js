// Tables that are as wide as they need to be, and scroll by themselves on narrow screens.

import { element } from "./dom.js";

// columns: objects with `title` and, for numbers, `numeric`. rows: lists of texts and nodes, one for each column.
export function table(label, columns, rows) {
  const cell = (name, column, content) => element(name, { class: column.numeric ? "n" : null }, content);
  const heads = columns.map((column) => cell("th", column, column.title));
  for (const head of heads) head.scope = "col";
  const line = (row) => element("tr", {}, ...row.map((content, place) => cell("td", columns[place], content)));
  return element(
    "div",
    { class: "wide", role: "region", "aria-label": label, tabindex: "0" },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows.map(line))),
  );
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
