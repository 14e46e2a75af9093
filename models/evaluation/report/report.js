// ---- the address keeps sort, filters and the open tile -----------------------------------------------------

let untouched = "";
let saving = 0;
const state = () => new URLSearchParams(new FormData(form));

function save() { // a moment later: browsers refuse hundreds of changes in a row, as of a key held down
  clearTimeout(saving);
  saving = setTimeout(write, 200);
}

function write() {
  const now = state();
  const changed = new URLSearchParams(String(now) === untouched ? "" : now);
  if (dialog.open) changed.set("tile", data.ids[order[current]]);
  history.replaceState(null, "", `#${changed}`);
}

function restore() {
  const saved = new URLSearchParams(location.hash.slice(1));
  const tile = saved.get("tile");
  if (saved.has("sort")) {
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = saved.getAll(field.name).includes(field.value);
      else if (saved.has(field.name)) field.value = saved.get(field.name);
    }
  }
  update();
  const place = tile === null ? -1 : order.indexOf(data.ids.indexOf(tile));
  if (place >= 0) open(place);
}

// ---- start -------------------------------------------------------------------------------------------------

for (const [part, column] of [["truth", data.truth], ["folds", data.folds]]) {
  if (!column) document.querySelectorAll(`.${part}`).forEach((unused) => unused.remove());
}
for (const name of data.folds ? folds : []) form.elements.fold.append(new Option(name, name));
for (const kind of data.kinds ? ERROR_KINDS : []) {
  const box = node("input");
  Object.assign(box, { type: "checkbox", name: "kind", value: kind });
  const label = node("label", "", "chip");
  const total = data.kinds.filter((other) => other === kind).length;
  label.append(box, node("span", kind), node("b", total.toLocaleString("en")));
  element("kinds").append(label);
}
untouched = String(state());

/** `work`, but at most once a frame. */
function calm(work) {
  let waiting = 0;
  return () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(work);
  };
}
const layOutSoon = calm(layOut);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => { update(); save(); })); // after the fields are
form.addEventListener("input", (event) => {
  const { name } = event.target;
  if (name === "size") layOutSoon();
  else if (name !== "outlines") update(); // those are the style sheet's
  save();
});
addEventListener("scroll", calm(show), { passive: true });
new ResizeObserver(layOutSoon).observe(gallery);
addEventListener("beforeprint", () => { printing = true; show(); });
addEventListener("afterprint", () => { printing = false; show(); });
restore();
