// the tiles, and which of them are shown, in which order

const ERROR_KINDS = ["right", "wrong border", "missed", "invented"];
const PRINTED = 60; // tiles on paper

const element = (id) => document.getElementById(id);
const form = element("form");
const gallery = element("tiles");
const dialog = element("dialog");

// ---- the tiles ---------------------------------------------------------------------------------------------

const data = JSON.parse(element("data").textContent); // a list per quality of a tile; see page.py
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
