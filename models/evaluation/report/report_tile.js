// one tile, enlarged

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
  const share = (pixels) => `${percent((100 * area(pixels)) / TILE ** 2)} (${area(pixels).toLocaleString("en")} px)`;
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
