// The overview: the network as a diagram of its layers, the data, the training, how the images were made.

function overviewPage() {
  const both = nets.length === 2;
  const title = nets.map((net) => net.title).join(" and ");
  return {
    title,
    nodes: [
      el("header", { class: "head" },
        el("h1", { tabindex: "-1" }, title),
        el("p", { class: "lead" }, both
          ? "Everything that two convolutional networks have learned, channel by channel."
          : "Everything that a convolutional network has learned, channel by channel."),
        hasCompare && paragraph(el("a", { href: "#compare", class: "button" }, "Compare the two networks"))),
      nets.map((net) => (both
        ? el("section", { class: "net", "aria-label": `Network ${net.number}` }, el("h2", {}, `${net.number}. ${net.title}`), oneNet(net, "h3"))
        : oneNet(net, "h2"))),
    ],
  };
}

function oneNet(net, level) {
  const part = (title, ...children) => el("section", { class: "part", "aria-label": title }, el(level, {}, title), ...children);
  const layers = net.layers;
  return [
    facts([
      ["network", net.net.name],
      ["parameters", integer(net.net.parameters)],
      ["channels", integer(sum(layers.map((layer) => layer.channels)))],
      ["data", `${net.data.name}, ${net.data.split}`],
      ["images", integer(net.data.images)],
      ["classes", net.data.classes.length ? integer(net.data.classes.length) : "none"],
      ["checkpoint", el("code", {}, net.net.hash)],
    ]),
    part("Layers", diagram(net), previews(net), layerTable(net),
      fold("What do these words mean?", explain("activation", "sees", "dead", "dominant", "saturated", "selective", "auc", ...(net.data.masks ? ["object"] : [])))),
    net.data.classes.length > 0 && !(hasCompare && net.number === 2) && part("Classes", classLinks(net)),
    net.training && part("Training", trainingCurves(net.training)),
    part("How the images were made", ...made(net)),
  ];
}

function diagram(net) {
  const [height, width] = net.image_size;
  const input = el("li", {}, el("div", { class: "block" },
    slab(net.image_channels, net.image_size, net.image_size),
    el("strong", {}, "input"),
    el("span", {}, times([net.image_channels, height, width])),
    el("span", {}, net.image_channels === 1 ? "gray image" : "image")));
  return el("ol", { class: "diagram" }, input, net.layers.map((layer) =>
    el("li", {}, el("a", { class: "block", href: layerAddress(layer) },
      slab(layer.channels, layer.size, net.image_size),
      el("strong", {}, layer.name),
      el("span", {}, times([layer.channels, ...layer.size])),
      el("span", { class: "sees" }, field(layer, net), layer.window ? `sees ${times(layer.window)}` : "sees all")))));
}

// A block of feature maps: its height is the maps' size, its width the number of channels, both compressed.
function slab(channels, [rows], [most]) {
  const height = 14 + 76 * Math.sqrt(Math.min(rows / most, 1));
  const width = 4 + 6.5 * Math.log2(channels + 1);
  const [across, up] = [0.42 * height, 0.3 * height];
  const [left, top] = [(116 - width - across) / 2, 120 - height];
  const points = (...list) => list.map((pair) => pair.join(" ")).join(" ");
  return svg("svg", { class: "slab", viewBox: "0 0 116 124", width: 116, height: 124, "aria-hidden": "true" },
    svg("polygon", { class: "top", points: points([left, top], [left + across, top - up], [left + across + width, top - up], [left + width, top]) }),
    svg("polygon", { class: "side", points: points([left + width, top], [left + width + across, top - up], [left + width + across, top + height - up], [left + width, top + height]) }),
    svg("rect", { class: "front", x: left, y: top, width, height }));
}

// The receptive field as a frame in the image, true to scale.
function field(layer, net) {
  const [height, width] = net.image_size;
  const [h, w] = layer.window ?? net.image_size;
  return svg("svg", { class: "field", viewBox: `0 0 ${width} ${height}`, width: 18, height: (18 * height) / width, "aria-hidden": "true" },
    svg("rect", { width, height }),
    svg("rect", { class: "inner", x: Math.max((width - w) / 2, 0), y: Math.max((height - h) / 2, 0), width: Math.min(w, width), height: Math.min(h, height) }));
}

// Some channels of each layer. Only what comes near the screen is loaded.
function previews(net) {
  const shown = net.layers.filter((layer) => layer.preview?.channels.length);
  if (!shown.length) return null;
  const soon = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
    soon.unobserve(target);
    target.drawTiles();
  }), { rootMargin: "200px" });
  return el("ul", { class: "previews" }, shown.map((layer) => {
    const tiles = layer.preview.channels.map(() => blank(layer.preview.tile));
    const strip = el("div", { class: "strip" }, layer.preview.channels.map((channel, i) =>
      el("a", { href: unitAddress(layer, channel), "aria-label": unitName(layer, channel), title: unitName(layer, channel),
        onmouseenter: () => drawPreview(1, i), onmouseleave: () => drawPreview(0, i), onfocus: () => drawPreview(1, i), onblur: () => drawPreview(0, i) }, tiles[i])));
    const drawPreview = (row, i) => draw(tiles[i], `${layer.path}/preview.webp`, i, row);
    strip.drawTiles = () => tiles.forEach((_, i) => drawPreview(0, i));
    soon.observe(strip);
    return el("li", {}, el("a", { class: "name", href: layerAddress(layer) }, layer.name), strip);
  }));
}

function layerTable(net) {
  const masks = net.layers.some((layer) => layer.energy_on_object !== null);
  const head = (text, name) => el("th", { scope: "col", title: name && explanation(name) }, text);
  const only = (layer, which) => (layer[which].length ? el("a", { href: `${layerAddress(layer)}?only=${which}` }, integer(layer[which].length)) : "0");
  return sideways("Table of the layers", el("table", {},
    el("thead", {}, el("tr", {}, head("layer"), head("channels"), head("size"), head("sees", "sees"), head("dead", "dead"), head("dominant", "dominant"), head("saturated", "saturated"),
      net.data.classes.length > 0 && head("selective", "selective"), masks && head("energy on object (by chance)", "object"))),
    el("tbody", {}, net.layers.map((layer) => el("tr", {},
      el("th", { scope: "row" }, el("a", { href: layerAddress(layer) }, layer.name)),
      el("td", {}, integer(layer.channels)), el("td", {}, times(layer.size)), el("td", {}, layer.window ? times(layer.window) : "all"),
      el("td", {}, only(layer, "dead")), el("td", {}, only(layer, "dominant")), el("td", {}, only(layer, "saturated")),
      net.data.classes.length > 0 && el("td", {}, integer(layer.selective)),
      masks && el("td", {}, layer.energy_on_object === null ? "–" : `${percent(layer.energy_on_object)} (${percent(layer.energy_by_chance)})`))))));
}

function classLinks(net) {
  const list = el("ul", { class: "classes" }, net.data.classes.map((name, index) =>
    el("li", {}, el("a", { href: classAddress(index) }, name), el("small", {}, ` ${integer(net.data.class_images[index])}`))));
  const intro = paragraph("Each class has a page with the channels that tell it from the others. The number is that of its images.");
  return net.data.classes.length > 60 ? [intro, fold(`All ${integer(net.data.classes.length)} classes`, list)] : [intro, list];
}

// A metric of several splits, such as val/loss and train/loss, is one chart.
function trainingCurves({ epochs, curves }) {
  const charts = new Map();
  for (const [name, values] of Object.entries(curves)) {
    if (values.every((value) => value === null)) continue;
    const [, split, metric] = name.match(/^(.*?)\/(.*)$/s) ?? [null, "", name];
    charts.set(metric, [[split, values], ...(charts.get(metric) ?? [])]);
  }
  return el("div", { class: "charts" }, [...charts].map(([metric, series]) =>
    lineChart((series.length === 1 && series[0][0] ? `${series[0][0]} ${metric}` : metric).replaceAll("_", " "), epochs, series)));
}

function made(net) {
  const { k, contrast, seed } = net.made;
  const rules = net.layers.filter((layer) => layer.rules);
  const warned = net.layers.filter((layer) => layer.warnings.length);
  return [
    paragraph(`For each channel, the ${k} images that activate it most were found among ${count(net.data.images, "image")}. At the place of the largest activation, the deconvnet projects the unit back to pixels. Mid-gray is 0, and each projection has its own scale. `,
      contrast > 0 && `The contrastive projection compares a unit with ${contrast} random channels at the same place (seed ${seed}).`),
    rules.length
      ? [paragraph("Some layers need rules that the paper does not have. These are ours:"),
        el("ul", {}, rules.map((layer) => el("li", {}, el("strong", {}, layer.name), `: ${layer.rules}`)))]
      : paragraph("All layers are projected by the paper’s rules."),
    warned.length
      ? [paragraph("What could mislead, by the analysis ", el("code", {}, "doctor"), ":"),
        el("ul", { class: "warnings" }, byWarning(warned).map(([warning, layers]) => el("li", {},
          layers.map((layer, i) => [i > 0 && ", ", el("a", { href: layerAddress(layer) }, layer.name)]), `: ${warning}`)))]
      : paragraph("The analysis ", el("code", {}, "doctor"), " warns of nothing."),
    net.net.checkpoint && paragraph("Checkpoint: ", el("code", {}, net.net.checkpoint)),
  ];
}

// What doctor says, once, with the layers of which it says so.
function byWarning(layers) {
  const found = new Map();
  layers.forEach((layer) => layer.warnings.forEach((warning) => found.set(warning, [...(found.get(warning) ?? []), layer])));
  return [...found];
}
