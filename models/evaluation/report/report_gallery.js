// the gallery: only the rows in view are in the page

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
