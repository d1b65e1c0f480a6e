// What follows a view's name in the address, as in "#data?part=documents&text=clarinet": the state of the view.

// The address of a view. Fields without a value are left out.
export function address(view, fields = {}) {
  const query = queryOf(fields);
  return query ? `#${view}?${query}` : `#${view}`;
}

export function queryOf(fields) {
  const entries = Object.entries(fields).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return new URLSearchParams(entries).toString();
}

// Calls `show` with the fields of the address, as strings, now and whenever the address names this view.
export function followAddress(view, show) {
  const follow = () => {
    const [name, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
    if (name === view) show(Object.fromEntries(new URLSearchParams(query)));
  };
  addEventListener("hashchange", follow);
  follow();
}
