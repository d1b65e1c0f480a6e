// SQL over the tables of the store: one SELECT, which can only read.

import { getJson, postJson } from "./api.js";
import { announce, button, clearProblem, element, field, keepFocus, number, showProblem } from "./dom.js";
import { table } from "./table.js";

const EXAMPLE = "SELECT host, count(*) AS pages FROM clean_corpus GROUP BY ALL ORDER BY pages DESC LIMIT 20";

export function createPart() {
  return new Sql();
}

class Sql {
  constructor() {
    this.input = element("textarea", { name: "sql", rows: 4, spellcheck: "false", class: "code", maxlength: 20000 });
    this.input.value = EXAMPLE;
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.run(0);
    });
    this.runButton = button("Run", () => this.run(0), { class: "primary" });
    this.result = element("div");
    this.tables = element("div");
    this.node = element(
      "div",
      { class: "with-side" },
      element(
        "section",
        { "aria-label": "SQL" },
        field("SELECT statement", this.input),
        element("div", { class: "row" }, this.runButton, element("span", { class: "soft" }, "or Ctrl+Enter")),
        this.result,
      ),
      element("aside", { "aria-label": "Tables" }, element("h2", {}, "Tables"), this.tables),
    );
  }

  async show({ sql }) {
    if (sql) this.input.value = sql;
    if (this.tables.children.length) return;
    const { tables } = await getJson("api/data/tables");
    this.tables.replaceChildren(...tables.map((described) => this.described(described)));
  }

  described({ name, columns, rows, stale }) {
    const items = Object.entries(columns).map(([column, type]) =>
      element("li", {}, element("code", {}, column), element("span", { class: "soft" }, ` ${type}`)),
    );
    const use = button("SELECT", () => {
      this.input.value = `SELECT * FROM ${name} LIMIT 20`;
      this.input.focus();
    });
    use.setAttribute("aria-label", `SELECT from ${name}`);
    const facts = ` ${number(rows)} rows${stale.length ? ", stale" : ""}`;
    const more = stale.length > 1 ? `, and ${number(stale.length - 1)} more` : "";
    return element(
      "details",
      {},
      element("summary", {}, element("code", {}, name), element("span", { class: "soft" }, facts)),
      use,
      stale.length ? element("p", { class: "soft" }, `${stale[0]}${more}.`) : "",
      element("ul", {}, ...items),
    );
  }

  async run(skip) {
    const sql = skip ? this.sql : this.input.value;
    if (!sql.trim() || this.isRunning) return;
    this.sql = sql;
    this.isRunning = true;
    this.runButton.setAttribute("aria-disabled", "true"); // a button that is disabled loses the focus
    announce("The statement is running.");
    try {
      const result = await postJson("api/data/sql", { sql, skip });
      clearProblem();
      this.draw(result, skip);
    } catch (error) {
      showProblem(error);
    } finally {
      this.isRunning = false;
      this.runButton.removeAttribute("aria-disabled");
    }
  }

  draw({ columns, types, rows, more, seconds }, skip) {
    const isNumber = (type) => /INT|DOUBLE|FLOAT|DECIMAL/.test(type) && !type.endsWith("[]");
    const heads = columns.map((title, place) => ({ title, numeric: isNumber(types[place]) }));
    const lines = rows.map((row) => row.map((value) => cell(value)));
    const range = rows.length ? `rows ${number(skip + 1)} to ${number(skip + rows.length)}` : "no rows";
    const text = `${range}, ${number(seconds, 2)} s`;
    const next = more ? button("Next rows", () => this.run(skip + rows.length)) : "";
    this.result.replaceChildren(element("p", { class: "soft" }, text), table("Result", heads, lines), next);
    keepFocus(next || this.runButton);
    announce(text);
  }
}

function cell(value) {
  if (value === null) return element("span", { class: "soft" }, "NULL");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
