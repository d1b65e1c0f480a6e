// The views, in the order of the navigation. Each is a module of its own, "NAME.js", that is loaded when it is first
// shown and exports `createView(app)`, which returns the view's node. usesModel: whether it uses the chosen model.

export const VIEWS = {
  chat: { title: "Chat", usesModel: true },
  base: { title: "Base model", usesModel: true },
  compare: { title: "Compare" },
  rank: { title: "Rank" },
  tokens: { title: "Tokens", usesModel: true },
  data: { title: "Data" },
  trace: { title: "Trace" },
  pipeline: { title: "Pipeline" },
  tour: { title: "Tour" },
};
