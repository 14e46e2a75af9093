"use strict";

const KINDS = ["right", "wrong border", "missed", "invented"];
const PRINTED = 60; // tiles on paper

const element = (id) => document.getElementById(id);
const form = element("form");
const gallery = element("tiles");
const dialog = element("dialog");

// ---- the tiles ---------------------------------------------------------------------------------------------

const data = JSON.parse(element("data").textContent); // a list per quality of a tile; see data/report.py
element("data").remove();
const count = data.ids.length;
const all = [...Array(count).keys()];
const byId = [...all].sort((a, b) => (data.ids[a] < data.ids[b] ? -1 : 1));
const folds = [...new Set(data.folds)].sort(new Intl.Collator("en", { numeric: true }).compare);

const KEYS = { score: data.scores, coverage: data.coverage, certainty: data.certainty, id: [] };
byId.forEach((tile, rank) => (KEYS.id[tile] = rank));
KEYS.fold = data.folds?.map((name) => folds.indexOf(name));

const percent = (value) => `${value.toFixed(1)} %`;
const scoreText = (tile) => data.scores[tile].toFixed(2);

// ---- which tiles, in which order ---------------------------------------------------------------------------

let order = all; // tiles shown, in order
let current = 0; // place in `order` that has, or last had, the focus

function update() {
  const chosen = new FormData(form);
  const number = (name, fallback) => (form.elements[name]?.value ?? "") === "" ? fallback : Number(chosen.get(name));
  const kinds = chosen.getAll("kind");
  const fold = chosen.get("fold");
  const search = chosen.get("search").trim().toLowerCase();
  const within = (values, name, most) => {
    const [from, to] = [number(`${name}-from`, 0) - 1e-6, number(`${name}-to`, most) + 1e-6];
    return (tile) => values[tile] >= from && values[tile] <= to;
  };
  const tests = [within(data.coverage, "coverage", 100)];
  if (data.scores) tests.push(within(data.scores, "score", 1));
  if (kinds.length) tests.push((tile) => kinds.includes(data.kinds[tile]));
  if (fold) tests.push((tile) => data.folds[tile] === fold);
  if (search) tests.push((tile) => data.ids[tile].toLowerCase().includes(search));

  const [, minus, name] = chosen.get("sort").match(/(-?)(.*)/);
  const sign = minus ? -1 : 1;
  const key = KEYS[name];
  order = all.filter((tile) => tests.every((test) => test(tile))).sort((a, b) => sign * (key[a] - key[b]) || a - b);
  current = 0;
  element("count").textContent = `${order.length.toLocaleString("en")} of ${count.toLocaleString("en")} tiles`;
  clear();
  layOut();
  if (gallery.getBoundingClientRect().top < 0) element("heading").scrollIntoView(); // to the first of them
}

// ---- gallery: only the rows in view are in the page --------------------------------------------------------

const GAP = 10; // px
const CAPTION = 22; // px
const made = new Map(); // place in `order` -> its list item
let columns = 1;
let width = 0; // px, of a tile
let printing = false;

function clear() {
  gallery.replaceChildren();
  made.clear();
}

function layOut() {
  const room = gallery.clientWidth;
  const wanted = Number(form.elements.size.value);
  columns = Math.max(1, Math.round((room + GAP) / (wanted + GAP)));
  width = (room + GAP) / columns - GAP;
  const rows = Math.ceil(order.length / columns);
  gallery.style.height = `${Math.max(0, rows * (width + CAPTION + GAP) - GAP)}px`;
  for (const [place, item] of made) position(place, item);
  show();
}

function position(place, item) {
  item.style.order = place; // on paper
  item.style.width = `${width}px`;
  item.style.left = `${(place % columns) * (width + GAP)}px`;
  item.style.top = `${Math.floor(place / columns) * (width + CAPTION + GAP)}px`;
}

/** Make the tiles in view, a screen around it and the current one; drop the others. */
function show() {
  const top = -gallery.getBoundingClientRect().top;
  const row = width + CAPTION + GAP;
  const first = printing ? 0 : Math.max(0, Math.floor((top - innerHeight / 2) / row)) * columns;
  const end = printing ? PRINTED : Math.ceil((top + innerHeight * 1.5) / row) * columns;
  const wanted = new Set();
  for (let place = first; place < Math.min(end, order.length); place++) wanted.add(place);
  if (current < order.length && !printing) wanted.add(current); // or the focus would be lost
  for (const [place, item] of made) {
    if (wanted.has(place)) continue;
    item.remove();
    made.delete(place);
  }
  for (const place of wanted) {
    if (made.has(place)) continue;
    const item = makeItem(place);
    made.set(place, item);
    position(place, item);
    gallery.append(item);
  }
}

function makeItem(place) {
  const tile = order[place];
  const item = node("div", "", "item");
  item.setAttribute("role", "listitem");
  item.setAttribute("aria-posinset", place + 1);
  item.setAttribute("aria-setsize", order.length);
  const button = node("button", "", "tile");
  button.type = "button";
  button.tabIndex = place === current ? 0 : -1;
  button.dataset.place = place;
  const [left, right] = data.scores
    ? [scoreText(tile), data.kinds[tile]]
    : [percent(data.coverage[tile]), `${Math.round(100 * data.certainty[tile])} % sure`];
  const spoken = [left, right, `coverage ${percent(data.coverage[tile])}`, ...(data.folds ? [data.folds[tile]] : [])];
  button.setAttribute("aria-label", `${data.ids[tile]}: ${spoken.join(", ")}`);
  button.title = data.ids[tile];
  const caption = node("span", "", "caption");
  caption.append(node("b", left), node("span", right));
  button.append(picture(webp(data.images[tile]), outlines(data.truth?.[tile], data.predictions[tile])), caption);
  item.append(button);
  return item;
}

/** Move the focus to a place, scrolling as little as shows it. */
function focus(place) {
  made.get(current)?.firstChild.setAttribute("tabindex", -1);
  current = Math.min(Math.max(place, 0), order.length - 1);
  if (current < 0) return;
  show();
  const button = made.get(current).firstChild;
  button.tabIndex = 0;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest" });
}

gallery.addEventListener("click", (event) => {
  const button = event.target.closest(".tile");
  if (button) open(Number(button.dataset.place));
});

gallery.addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor(innerHeight / (width + CAPTION + GAP)) - 1) * columns;
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page };
  const ends = { Home: 0, End: order.length - 1 };
  const place = event.key in ends ? ends[event.key] : current + moves[event.key];
  if (Number.isNaN(place) || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (event.key in ends || event.key.startsWith("Page") || (place >= 0 && place < order.length)) focus(place);
});

// ---- one tile, enlarged ------------------------------------------------------------------------------------

function open(place) {
  focus(place);
  if (!order.length) return;
  const tile = order[current];
  element("name").textContent = data.ids[tile];
  element("position").textContent = `${(current + 1).toLocaleString("en")} of ${order.length.toLocaleString("en")}`;
  element("previous").disabled = current === 0;
  element("next").disabled = current === order.length - 1;

  const pictures = { Tile: picture(webp(data.images[tile]), outlines(data.truth?.[tile], data.predictions[tile])) };
  if (data.truth) pictures.Truth = maskPicture(data.truth[tile]);
  pictures.Probability = picture(webp(data.probabilities[tile]), outlines(data.truth?.[tile], data.predictions[tile]));
  pictures.Prediction = maskPicture(data.predictions[tile]);
  element("pictures").replaceChildren(...Object.entries(pictures).map(([name, image]) => {
    const figure = node("figure");
    figure.append(image, node("figcaption", name));
    return figure;
  }));
  element("numbers").replaceChildren(...Object.entries(numbers(tile)).map(([name, value]) => {
    const pair = node("div");
    pair.append(node("dt", name), node("dd", value));
    return pair;
  }));
  if (!dialog.open) dialog.showModal();
  save();
}

function numbers(tile) {
  const area = (pixels) => pixels.reduce((sum, pixel) => sum + pixel, 0);
  const share = (pixels) => `${percent((100 * area(pixels)) / SIDE ** 2)} (${area(pixels).toLocaleString("en")} px)`;
  const predicted = decode(data.predictions[tile]);
  const shown = {};
  if (data.truth) {
    const truth = decode(data.truth[tile]);
    const union = area(truth.map((pixel, i) => pixel | predicted[i]));
    shown.Score = scoreText(tile);
    shown.IoU = union ? (area(truth.map((pixel, i) => pixel & predicted[i])) / union).toFixed(3) : "both empty";
    shown.Kind = data.kinds[tile];
    shown["Salt, truth"] = share(truth);
  }
  shown["Salt, predicted"] = share(predicted);
  shown["Mean certainty"] = data.certainty[tile].toFixed(3);
  if (data.folds) shown.Fold = data.folds[tile];
  return shown;
}

const step = (by) => order[current + by] === undefined || open(current + by);
element("previous").addEventListener("click", () => step(-1));
element("next").addEventListener("click", () => step(1));
element("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});
dialog.addEventListener("close", () => {
  focus(current);
  save();
});

const toggle = () => form.elements.outlines.click();
element("toggle").addEventListener("click", toggle);
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if (event.key === "o" && !typing && !event.ctrlKey && !event.altKey && !event.metaKey) toggle();
});

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
for (const kind of data.kinds ? KINDS : []) {
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
