// The shell: navigation by hash, the model, the theme, the server's key, and errors that nothing else shows.

import { getJson, onKeyWanted } from "./api.js";
import { clearProblem, element, showProblem } from "./dom.js";
import { VIEWS } from "./views.js";

const THEME = "llm-assets-theme";

const main = document.getElementById("main");
const picker = document.getElementById("model");

// What views share. models: as /v1/models describes them. model: the chosen one. Views listen to "model" events.
// choose: takes another model by its name, if there is one.
const app = Object.assign(new EventTarget(), { models: [], model: null, choose: chooseByName });
const created = {};

async function loadModels() {
  const { data } = await getJson("v1/models");
  if (!data.length) return;
  app.models = data;
  picker.replaceChildren(
    ...data.map((model) => {
      const kind = `${model.chat ? "chat" : "base"}${model.stale ? ", stale" : ""}`;
      return element("option", { value: model.id }, `${model.id} (${kind})`);
    }),
  );
  picker.addEventListener("change", () => choose(data.find((model) => model.id === picker.value)));
  choose(data.find((model) => model.default) ?? data[0]);
}

function choose(model) {
  app.model = model;
  picker.value = model.id;
  app.dispatchEvent(new Event("model"));
}

function chooseByName(name) {
  const model = app.models.find(({ id }) => id === name);
  if (model && model !== app.model) choose(model);
}

// The view that the address names: what follows its name, as in "#data?url=…", is the view's own.
function addressedView() {
  const name = location.hash.slice(1).split("?")[0];
  if (Object.hasOwn(VIEWS, name) && (app.models.length || !VIEWS[name].usesModel)) return name;
  return app.models.length ? "chat" : "pipeline";
}

async function showView() {
  const name = addressedView();
  clearProblem();
  document.title = `${VIEWS[name].title} · llm-assets`;
  picker.parentElement.hidden = !VIEWS[name].usesModel;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const { createView } = await import(`./${name}.js`);
  if (name !== addressedView()) return; // another one was chosen meanwhile
  created[name] ??= createView(app);
  if (main.firstElementChild !== created[name]) main.replaceChildren(created[name]);
}

function addLinks() {
  const links = Object.entries(VIEWS).map(([name, view]) =>
    element("li", {}, element("a", { href: `#${name}` }, view.title)),
  );
  document.getElementById("views").replaceChildren(...links);
}

function addTheme() {
  const select = document.getElementById("theme");
  select.value = localStorage.getItem(THEME) ?? "";
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    localStorage.setItem(THEME, select.value);
  };
  select.addEventListener("change", apply);
  apply();
}

// Requests that find no key at the same time share one dialog.
let keyWanted = null;
onKeyWanted(() => {
  keyWanted ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const input = dialog.querySelector("input");
    input.value = dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        keyWanted = null;
        resolve(dialog.returnValue === "use" ? input.value : null);
      },
      { once: true },
    );
    dialog.showModal();
  });
  return keyWanted;
});

addLinks();
addTheme();
document.getElementById("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", async () => {
  await showView();
  main.focus();
});
addEventListener("unhandledrejection", (event) => showProblem(event.reason));
try {
  await loadModels();
  await showView();
  if (!app.models.length) showProblem(new Error("No model is built yet: run llm-assets run."));
} catch (error) {
  showProblem(error);
}
document.documentElement.dataset.ready = "true";
