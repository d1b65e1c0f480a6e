// The asset graph as a drawing: inputs above what reads them. The list of assets says the same in words.

const SVG = "http://www.w3.org/2000/svg";
const NODE = { width: 186, height: 28 };
const GAP = { x: 12, y: 34 };
const SWEEPS = 6; // in which assets are put below what they read

// stateOf: the state and sign of an asset. choose: called with the name of an asset that is clicked.
export function assetGraph(assets, stateOf, choose) {
  const inputs = directInputs(assets);
  const layers = orderedLayers(assets, inputs);
  const places = placesOf(layers);
  const width = Math.max(...[...places.values()].map(({ x }) => x)) + NODE.width;
  const height = layers.length * (NODE.height + GAP.y) - GAP.y;
  const drawing = svg("svg", {
    viewBox: `-2 -2 ${width + 4} ${height + 4}`,
    width: width + 4,
    height: height + 4,
    role: "img",
    "aria-label": "The asset graph. The list below it has the same assets.",
  });
  const edges = assets.flatMap(({ name }) => inputs.get(name).map((input) => edge(places, input, name)));
  const nodes = assets.map((asset) => node(asset, places.get(asset.name), stateOf(asset), choose));
  drawing.append(...edges, ...nodes);
  drawing.addEventListener("pointerover", (event) => {
    const name = event.target.closest("[data-asset]")?.dataset.asset;
    for (const line of edges) line.classList.toggle("related", name === line.dataset.from || name === line.dataset.to);
  });
  return drawing;
}

// The inputs of each asset without those that are also upstream of another of its inputs.
function directInputs(assets) {
  const inputsOf = new Map(assets.map(({ name, inputs }) => [name, inputs]));
  const upstream = new Map(); // all assets that an asset is built from, by name
  for (const { name, inputs } of assets) {
    upstream.set(name, new Set(inputs.flatMap((input) => [input, ...(upstream.get(input) ?? [])])));
  }
  const isIndirect = (input, inputs) => inputs.some((other) => other !== input && upstream.get(other)?.has(input));
  return new Map(
    assets.map(({ name }) => {
      const inputs = inputsOf.get(name).filter((input) => inputsOf.has(input));
      return [name, inputs.filter((input) => !isIndirect(input, inputs))];
    }),
  );
}

// Names by layer: an asset is below its inputs, and one without inputs is just above what reads it.
function orderedLayers(assets, inputs) {
  const depth = new Map();
  for (const { name } of assets) {
    depth.set(name, 1 + Math.max(-1, ...inputs.get(name).map((input) => depth.get(input))));
  }
  for (const { name } of assets) {
    const readers = assets.filter((other) => inputs.get(other.name).includes(name));
    if (!inputs.get(name).length && readers.length) {
      depth.set(name, Math.min(...readers.map((reader) => depth.get(reader.name))) - 1);
    }
  }
  const layers = [];
  for (const { name } of assets) (layers[depth.get(name)] ??= []).push(name);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const places = placesOf(layers);
    for (const layer of layers) {
      const wanted = new Map(layer.map((name) => [name, mean(inputs.get(name), places) ?? places.get(name).x]));
      layer.sort((left, right) => wanted.get(left) - wanted.get(right));
    }
  }
  return layers;
}

function mean(names, places) {
  return names.length ? names.reduce((sum, name) => sum + places.get(name).x, 0) / names.length : null;
}

// The upper left corner of each asset; layers are centred.
function placesOf(layers) {
  const widthOf = (layer) => layer.length * (NODE.width + GAP.x) - GAP.x;
  const widest = Math.max(...layers.map(widthOf));
  const places = new Map();
  layers.forEach((layer, row) => {
    const left = (widest - widthOf(layer)) / 2;
    layer.forEach((name, column) => {
      places.set(name, { x: left + column * (NODE.width + GAP.x), y: row * (NODE.height + GAP.y) });
    });
  });
  return places;
}

function edge(places, from, to) {
  const [start, end] = [places.get(from), places.get(to)];
  const [x1, y1] = [start.x + NODE.width / 2, start.y + NODE.height];
  const [x2, y2] = [end.x + NODE.width / 2, end.y];
  const bend = Math.min(60, (y2 - y1) / 2);
  const path = svg("path", { d: `M${x1},${y1}C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`, class: "edge" });
  Object.assign(path.dataset, { from, to });
  return path;
}

function node({ name, description }, { x, y }, { state, label, sign }, choose) {
  const group = svg("g", { class: `node ${state}`, transform: `translate(${x},${y})` });
  const title = svg("title");
  title.textContent = `${name}: ${label}. ${description}`;
  const text = svg("text", { x: 8, y: 19 });
  text.textContent = `${sign} ${name}`;
  group.append(title, svg("rect", { width: NODE.width, height: NODE.height, rx: 6 }), text);
  group.dataset.asset = name;
  group.addEventListener("click", () => choose(name));
  return group;
}

function svg(name, properties = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) node.setAttribute(key, value);
  return node;
}
