// Tiles: rectangles of the sprites, each drawn on a canvas of its own, so that no neighbor shows.

const TILES_A_FILE = 64;
const TILE_COLUMNS = 8;
const KEPT_IMAGES = 96;
const pictures = new Map(); // the images used last, by path

function picture(path) {
  const known = pictures.get(path);
  pictures.delete(path);
  const image = known ?? new Promise((resolve, reject) => {
    const element = new Image();
    element.onload = () => resolve(element);
    element.onerror = () => reject(new Error(`${path} cannot be read`));
    element.src = path;
  });
  pictures.set(path, image);
  if (pictures.size > KEPT_IMAGES) pictures.delete(pictures.keys().next().value);
  return image;
}

// Draws a rectangle of an image when it is loaded. The last request for a canvas wins.
function draw(canvas, path, x, y) {
  const request = `${path} ${x} ${y}`;
  canvas.dataset.shows = request;
  return picture(path).then((image) => {
    if (canvas.dataset.shows !== request) return;
    const { width, height } = canvas;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.drawImage(image, x, y, width, height, 0, 0, width, height);
    canvas.classList.toggle("pixels", canvas.clientWidth >= 1.5 * width);
    canvas.dataset.drawn = "yes";
  }, () => canvas.classList.add("missing"));
}

function blank([height, width], label) {
  const alt = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return el("canvas", { class: "tile", width, height, style: { "aspect-ratio": `${width} / ${height}` }, ...alt });
}

// The strongest projection of a channel, or its patch. Without a label the tile is decoration.
function channelTile(layer, channel, label = "", kind = "projection") {
  const canvas = blank(layer.tile, label);
  drawChannel(canvas, layer, channel, kind);
  return canvas;
}

function drawChannel(canvas, layer, channel, kind) {
  const place = channel % TILES_A_FILE;
  const row = 2 * Math.floor(place / TILE_COLUMNS) + (kind === "patch" ? 1 : 0);
  const path = `${layer.path}/tiles_${Math.floor(channel / TILES_A_FILE)}.webp`;
  return draw(canvas, path, (place % TILE_COLUMNS) * layer.tile[1], row * layer.tile[0]);
}

// A tile of the sprite of one unit, by the name of its row.
function unitTile(layer, channel, row, column, label) {
  const canvas = blank(layer.tile, label);
  drawUnit(canvas, layer, channel, row, column);
  return canvas;
}

function drawUnit(canvas, layer, channel, row, column) {
  const path = `${layer.path}/unit_${channel}.webp`;
  return draw(canvas, path, column * layer.tile[1], layer.sprite.rows[row] * layer.tile[0]);
}

// A tile of a unit's evolution: its projection or patch in a column of the file.
function evolutionTile(layer, channel, kind, column, label) {
  const canvas = blank(layer.tile, label);
  const [height, width] = layer.tile;
  draw(canvas, `${layer.path}/evolution_${channel}.webp`, column * width, kind === "patch" ? height : 0);
  return canvas;
}

// A frame in units of pixels of an image, cut at its border so that it is always seen.
function frame([top, left, bottom, right], [height, width]) {
  const edge = Math.max(height, width) / 100;
  const [x, y] = [Math.max(left, edge), Math.max(top, edge)];
  const box = { x, y, width: Math.max(Math.min(right, width - edge) - x, edge), height: Math.max(Math.min(bottom, height - edge) - y, edge) };
  return svg("svg", { class: "frame", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { ...box, class: "under" }), svg("rect", box));
}

// A whole image with the receptive field drawn in; `cell` is the unit's own position where the unit sees all.
function wholeImage(net, example) {
  const [height, width] = net.image_size;
  const alt = `image ${example.id}${example.class === null ? "" : `, ${className(net, example.class)}`}`;
  return el("div", { class: "whole" },
    el("img", { src: `${net.path}/images/${example.image}.webp`, width, height, alt, loading: "lazy", decoding: "async" }),
    frame(example.cell ?? example.window, [height, width]));
}
