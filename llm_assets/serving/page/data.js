// The data: the funnel, documents with their history, what other thresholds would do, and SQL.

import { address, followAddress } from "./address.js";
import { clearProblem, element, showProblem } from "./dom.js";

// Each part is a module, "data_NAME.js", that exports `createPart()`, which returns its node and `show(fields)`.
const PANES = {
  funnel: "Funnel",
  documents: "Documents",
  thresholds: "Thresholds",
  sql: "SQL",
  document: null, // reached from others
};

export function createView() {
  return new Data().node;
}

class Data {
  constructor() {
    this.created = {};
    this.links = element("ul", { class: "parts" });
    this.place = element("div");
    this.node = element(
      "div",
      {},
      element("h1", { class: "unseen" }, "Data"),
      element("nav", { "aria-label": "Parts of the data" }, this.links),
      this.place,
    );
    followAddress("data", (fields) => this.show(fields));
  }

  async show({ part = "funnel", ...fields }) {
    if (!Object.hasOwn(PANES, part)) return showProblem(`The data has no part ${part}.`);
    clearProblem();
    const links = Object.entries(PANES).filter(([, title]) => title);
    this.links.replaceChildren(
      ...links.map(([name, title]) => {
        const properties = { href: address("data", { part: name }), "aria-current": name === part ? "true" : null };
        return element("li", {}, element("a", properties, title));
      }),
    );
    this.part = part;
    const { createPart } = await import(`./data_${part}.js`);
    if (part !== this.part) return; // another one was chosen meanwhile
    this.created[part] ??= createPart();
    this.place.replaceChildren(this.created[part].node);
    await this.created[part].show(fields);
  }
}
