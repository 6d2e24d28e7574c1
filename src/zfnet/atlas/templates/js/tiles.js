// Tiles: rectangles of sheets of images.

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

// Small tiles are magnified in whole pixels.
const widths = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) =>
  target.classList.toggle("pixels", contentRect.width >= 1.5 * target.dataset.width)));

// An empty tile. Without a label it is decoration.
function blank([height, width], label) {
  const alt = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  const tile = el("div", { class: "tile", "data-width": width, "data-height": height, style: { "aspect-ratio": `${width} / ${height}` }, ...alt });
  widths.observe(tile);
  return tile;
}

// Shows a tile of a sheet when the sheet is loaded. The last request for a tile wins.
//
// A background is drawn in one layer with the page, and no color of a neighboring tile enters. A
// canvas would be a layer of its own: hundreds of them do not scroll smoothly.
function draw(tile, path, column, row) {
  const request = `${path} ${column} ${row}`;
  tile.dataset.shows = request;
  return picture(path).then((image) => {
    if (tile.dataset.shows !== request) return;
    const [columns, rows] = [image.naturalWidth / tile.dataset.width, image.naturalHeight / tile.dataset.height];
    const at = (place, many) => (many > 1 ? (100 * place) / (many - 1) : 0);
    tile.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    tile.style.backgroundPosition = `${at(column, columns)}% ${at(row, rows)}%`;
    tile.style.backgroundImage = `url("${path}")`;
  }, () => tile.classList.add("missing"));
}

// The strongest projection of a channel, or its patch.
function channelTile(layer, channel, label = "", kind = "projection") {
  const tile = blank(layer.tile, label);
  drawChannel(tile, layer, channel, kind);
  return tile;
}

function drawChannel(tile, layer, channel, kind) {
  const place = channel % TILES_A_FILE;
  const row = 2 * Math.floor(place / TILE_COLUMNS) + (kind === "patch" ? 1 : 0);
  const path = `${layer.path}/tiles_${Math.floor(channel / TILES_A_FILE)}.webp`;
  return draw(tile, path, place % TILE_COLUMNS, row);
}

// A tile of the sprite of one unit, by the name of its row.
function unitTile(layer, channel, row, column, label) {
  const tile = blank(layer.tile, label);
  drawUnit(tile, layer, channel, row, column);
  return tile;
}

function drawUnit(tile, layer, channel, row, column) {
  const path = `${layer.path}/unit_${channel}.webp`;
  return draw(tile, path, column, layer.sprite.rows[row]);
}

// A tile of a unit's evolution: its projection or patch in a column of the file.
function evolutionTile(layer, channel, kind, column, label) {
  const tile = blank(layer.tile, label);
  draw(tile, `${layer.path}/evolution_${channel}.webp`, column, kind === "patch" ? 1 : 0);
  return tile;
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
