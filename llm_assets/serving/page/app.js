// The shell: navigation by hash, the model, the theme, the server's key, and errors that nothing else shows.

import { getJson, onKeyWanted } from "./api.js";
import { announce, button, clearProblem, element, showProblem } from "./dom.js";
import { VIEWS } from "./views.js";

const THEME = "llm-assets-theme";
const NONE_BUILT = "No model is built yet: run llm-assets run.";

const main = document.getElementById("main");
const picker = document.getElementById("model");

// What views share. models: as /v1/models describes them. model: the chosen one; null only while there is none, when no
// view that uses it is shown. mostTokens: that the server samples for an answer. Views listen to "model" events, for
// another choice, and "models", for other facts in the list or another mostTokens. choose: takes another model by its
// name; whether there is one.
const app = Object.assign(new EventTarget(), { models: [], model: null, mostTokens: 4096, choose: chooseByName });
const created = {};
let missing = NONE_BUILT; // why there is no model
let shown = ""; // the view

// Models

// Reads the list of models, which grows while the pipeline runs. Never fails: `missing` says why there are none.
async function loadModels() {
  try {
    const { data, max_tokens: mostTokens } = await getJson("v1/models");
    missing = NONE_BUILT;
    const isSame = mostTokens === app.mostTokens && JSON.stringify(data) === JSON.stringify(app.models);
    app.mostTokens = mostTokens;
    if (!isSame) useModels(data);
  } catch (error) {
    missing = `The models cannot be listed: ${error.message}`;
  }
}

function useModels(models) {
  app.models = models;
  picker.replaceChildren(
    ...models.map((model) => {
      const kind = `${model.chat ? "chat" : "base"}${model.stale ? ", stale" : ""}`;
      return element("option", { value: model.id }, `${model.id} (${kind})`);
    }),
  );
  const chosen = models.find(({ id }) => id === app.model?.id);
  if (chosen) picker.value = chosen.id;
  else if (models.length) choose(firstChoice(models));
  app.model = chosen ?? app.model;
  app.dispatchEvent(new Event("models"));
}

// The default; where it is not built, the last model that chats, since later ones are trained further.
function firstChoice(models) {
  return models.find((model) => model.default) ?? models.findLast((model) => model.chat) ?? models[0];
}

function choose(model) {
  app.model = model;
  picker.value = model.id;
  app.dispatchEvent(new Event("model"));
}

function chooseByName(name) {
  const model = app.models.find(({ id }) => id === name);
  if (model && model !== app.model) choose(model);
  return Boolean(model);
}

// Views

// The view that the address names: what follows its name, as in "#data?url=…", is the view's own.
function addressedView() {
  const name = location.hash.slice(1).split("?")[0];
  if (Object.hasOwn(VIEWS, name)) return name;
  return app.models.length || missing !== NONE_BUILT ? "chat" : "pipeline";
}

async function showView() {
  const name = addressedView();
  const { title, usesModel } = VIEWS[name];
  document.title = `${title} · llm-assets`;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = name;
  picker.parentElement.hidden = !usesModel || !app.models.length;
  if (usesModel && !app.models.length) {
    main.replaceChildren(withoutModel(title));
    return;
  }
  const { createView } = await import(`./${name}.js`);
  if (name !== addressedView()) return; // another one was chosen meanwhile
  created[name] ??= createView(app);
  if (main.firstElementChild !== created[name]) main.replaceChildren(created[name]);
}

// What is shown for a view that uses a model, as long as there is none.
function withoutModel(title) {
  const again = button("Look again", async () => {
    await loadModels();
    await showView();
    if (app.models.length) return main.focus();
    main.querySelector("button").focus();
    announce(missing);
  });
  return element("section", { "aria-label": title }, element("h1", {}, title), element("p", {}, missing), again);
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
onKeyWanted((isWrong) => {
  keyWanted ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const input = dialog.querySelector("input");
    const problem = document.getElementById("key-problem");
    input.value = dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        keyWanted = null;
        problem.textContent = "";
        resolve(dialog.returnValue === "use" ? input.value : null);
      },
      { once: true },
    );
    dialog.showModal();
    // Once the dialog is open, so that screen readers announce it.
    if (isWrong) problem.textContent = "The server refuses this key: it is wrong. Enter another one.";
  });
  return keyWanted;
});

addLinks();
addTheme();
picker.addEventListener("change", () => chooseByName(picker.value));
document.getElementById("skip").addEventListener("click", () => main.focus());
addEventListener("hashchange", async () => {
  clearProblem();
  if (addressedView() !== shown) {
    const loading = loadModels(); // more may be built by now
    if (VIEWS[addressedView()].usesModel && !app.models.length) await loading;
  }
  await showView();
  main.focus();
});
addEventListener("unhandledrejection", (event) => showProblem(event.reason));
try {
  await loadModels();
  await showView();
  if (!app.models.length && !VIEWS[shown].usesModel) showProblem(new Error(missing));
} catch (error) {
  showProblem(error);
}
document.documentElement.dataset.ready = "true";
