"use strict"; // drawing a tile: its masks are run lengths, its pictures WebP files (page.py)

const TILE = 101; // pixels of its side

/** Pixels of a mask, column by column, from its run lengths "start length ...", counted from 1. */
function decode(runs) {
  const pixels = new Uint8Array(TILE * TILE);
  const numbers = runs ? runs.split(" ").map(Number) : [];
  for (let i = 0; i < numbers.length; i += 2) pixels.fill(1, numbers[i] - 1, numbers[i] - 1 + numbers[i + 1]);
  return pixels;
}

/** The borders of a mask as the d of an SVG path: closed lines between the pixels, each in one piece. */
function outline(pixels) {
  const salt = (x, y) => x >= 0 && y >= 0 && x < TILE && y < TILE && pixels[x * TILE + y];
  const side = TILE + 1;
  const leaving = new Uint8Array(side * side); // of each corner: bits of the borders east, south, west, north of it
  for (let x = 0; x < TILE; x++) {
    for (let y = 0; y < TILE; y++) {
      if (!salt(x, y)) continue; // clockwise around each pixel of salt
      if (!salt(x, y - 1)) leaving[y * side + x] |= 1;
      if (!salt(x + 1, y)) leaving[y * side + x + 1] |= 2;
      if (!salt(x, y + 1)) leaving[(y + 1) * side + x + 1] |= 4;
      if (!salt(x - 1, y)) leaving[(y + 1) * side + x] |= 8;
    }
  }
  const steps = [1, side, -1, -side];
  let path = "";
  leaving.forEach((_, start) => {
    while (leaving[start]) {
      path += `M${start % side} ${Math.floor(start / side)}`;
      let at = start;
      do { // as many borders enter a corner as leave it, so the walk ends only where it began
        const way = 31 - Math.clz32(leaving[at]);
        let length = 0;
        do {
          leaving[at] ^= 1 << way;
          at += steps[way];
          length++;
        } while (at !== start && leaving[at] & (1 << way));
        path += `${way % 2 ? "v" : "h"}${way < 2 ? length : -length}`;
      } while (at !== start);
      path += "z";
    }
  });
  return path;
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function node(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

const webp = (base64) => svg("image", { href: `data:image/webp;base64,${base64}`, width: TILE, height: TILE });
const picture = (...parts) => svg("svg", { viewBox: `0 0 ${TILE} ${TILE}`, "aria-hidden": "true" }, ...parts);

/** Lines to lay over a picture: the truth solid, the prediction dashed, each on a dark rim. */
function outlines(truth, prediction) {
  const lines = [[truth, "salt"], [prediction, "found"]].filter(([runs]) => runs).flatMap(([runs, name]) => {
    const d = outline(decode(runs));
    return [svg("path", { d, class: "halo" }), svg("path", { d, class: name })];
  });
  return svg("g", { class: "outlines" }, ...lines);
}

function maskPicture(runs) {
  const rock = svg("rect", { class: "rock", width: TILE, height: TILE });
  return picture(rock, svg("path", { class: "mask", d: outline(decode(runs)) }));
}
