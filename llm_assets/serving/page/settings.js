// The fields that say how an answer is sampled, with the names that they have in requests.

import { element, field } from "./dom.js";

const FIELDS = {
  temperature: { label: "Temperature", value: 0.7, min: 0, max: 2, step: 0.1 },
  top_p: { label: "Top p", value: 1, min: 0, max: 1, step: 0.05 },
  top_k: { label: "Top k (0: all)", value: 50, min: 0, max: 100000, step: 1 },
  max_tokens: { label: "Maximum tokens", value: 200, min: 1, step: 1 },
  seed: { label: "Seed (empty: random)", value: "", min: 0, max: 2 ** 52, step: 1 },
};

// A group of inputs with `read` and `write`; both speak in the fields of a request. app: knows the server's limit.
export function samplingSettings(app, changes = {}) {
  const inputs = {};
  const labels = Object.entries(FIELDS).map(([name, { label, value, min, max, step }]) => {
    inputs[name] = element("input", { type: "number", name, min, max, step, value: changes[name] ?? value });
    return field(label, inputs[name]);
  });
  const limit = () => {
    const { max_tokens: tokens } = inputs;
    tokens.max = app.mostTokens;
    if (tokens.value !== "") tokens.value = Math.min(tokens.value, app.mostTokens);
  };
  app.addEventListener("models", limit);
  limit();
  return {
    node: element("fieldset", { class: "settings" }, element("legend", {}, "Sampling"), ...labels),
    // Throws an error that names the field if a value is out of its range.
    read() {
      const values = {};
      for (const [name, input] of Object.entries(inputs)) {
        if (!input.checkValidity()) throw new Error(`${FIELDS[name].label}: ${input.validationMessage}`);
        if (input.value !== "") values[name] = Number(input.value);
      }
      return values;
    },
    write(values) {
      for (const [name, input] of Object.entries(inputs)) {
        if (typeof values[name] === "number") input.value = values[name];
      }
    },
  };
}
