// A unit: what activates it most, and all that is known about its channel.

const [SELECTIVE, SIGNIFICANT] = [0.9, 4]; // the AUC and z of a selective channel
let wholeImages = false; // instead of patches, until it is switched off

async function unitPage(layer, channel) {
  const { net } = layer;
  const [unit, summary, compared] = await Promise.all([loadUnit(layer, channel), loadSummary(layer), hasCompare ? loadCompare() : null]);
  const order = orders.get(layer.path);
  const inOrder = order?.channels.includes(channel) ? order : { channels: Array.from({ length: layer.channels }, (_, i) => i), name: "number", address: layerAddress(layer) };
  const place = inOrder.channels.indexOf(channel);
  const near = [inOrder.channels[place - 1], inOrder.channels[place + 1]];
  const [before, after] = near.map((other) => (other === undefined ? null : [unitAddress(layer, other), `${other}`]));
  near.filter((other) => other !== undefined).forEach((other) => picture(`${layer.path}/unit_${other}.webp`).catch(() => {})); // is there when it is wanted
  const strongest = unit.top.length ? topSection(layer, unit) : null;
  const nodes = [
    el("header", { class: "head" },
      crumbs(net, [inOrder.address, layer.name]),
      el("h1", { tabindex: "-1" }, layer.name, " ", el("span", { class: "channel" }, String(channel))),
      neighbors(before, after, "units", `${integer(place + 1)} of ${integer(inOrder.channels.length)}, by ${inOrder.name}`),
      el("p", { class: "lead" }, sentence(layer, unit))),
    el("div", { class: "unit" },
      el("div", { class: "unit-main" },
        strongest?.element ?? paragraph("No image activates this channel. There is nothing to project."),
        unit.top.length > 0 && controlsSection(layer, unit),
        unit.examples.length > 0 && examplesSection(layer, unit),
        unit.evolution && evolutionSection(layer, unit)),
      el("div", { class: "unit-side" },
        numbersSection(layer, unit, summary),
        net.data.classes.length > 0 && unit.class_means.length > 0 && classesSection(layer, unit),
        connectionsSection(layer, unit),
        compared && partnerSection(compared, layer, channel),
        citeSection(layer, channel))),
  ];
  return {
    title: unitName(layer, channel),
    nodes,
    key: (event) => {
      if (event.key === "ArrowLeft" && before) go(before[0]);
      else if (event.key === "ArrowRight" && after) go(after[0]);
      else if (event.key === "c" && strongest) strongest.contrast();
      else if (event.key === "w" && strongest) strongest.whole();
      else return false;
      return true;
    },
    up: inOrder.address,
    from: channel,
  };
}

function sentence(layer, unit) {
  if (!unit.top.length) return "A dead channel.";
  const parts = [`Sees ${seen(layer)}`, `active on ${percent(unit.active)} of the images`];
  if (unit.best?.auc >= SELECTIVE && unit.best.z >= SIGNIFICANT) parts.push(`selective for ${className(layer.net, unit.best.class)} (AUC ${fixed(unit.best.auc)})`);
  return `${parts.join(", ")}.`;
}

// The page's own words for an example: its activation, class and file.
function caption(layer, example) {
  const name = example.class === null || example.class === undefined || !layer.net.data.classes.length ? "" : `, ${className(layer.net, example.class)}`;
  return `activation ${decimal(example.value)}${name}, ${example.id}`;
}

function topSection(layer, unit) {
  const { net } = layer;
  const { channel } = unit;
  const [contrastColumn, hasContrast] = [layer.controls.indexOf("contrastive"), layer.controls.includes("contrastive")];
  const projections = unit.top.map((example, i) => unitTile(layer, channel, "projections", i, `projection ${i + 1}: ${caption(layer, example)}`));
  const patch = (example, i) => {
    const tile = unitTile(layer, channel, "patches", i, `patch ${i + 1}: ${caption(layer, example)}`);
    return example.cell ? el("div", { class: "framed" }, tile, frame(example.cell, net.image_size)) : tile;
  };
  const nine = (label, tiles) => el("ul", { class: "nine", "aria-label": label }, tiles.map((tile, i) =>
    el("li", { title: caption(layer, unit.top[i]), onmouseenter: () => mark(i, true), onmouseleave: () => mark(i, false) }, tile)));
  const left = nine("Projections", projections);
  const patches = unit.top.map(patch);
  const right = nine("Patches", patches);
  const mark = (i, on) => [left, right].forEach((list) => list.children[i]?.classList.toggle("marked", on));

  const leftTitle = el("h3", {}, "Projections");
  const rightTitle = el("h3", {}, "Patches");
  const said = el("p", { class: "note", role: "status" });
  let contrasted = false;
  const contrast = () => {
    if (!hasContrast) return;
    contrasted = !contrasted;
    const tile = projections[0];
    if (contrasted) drawUnit(tile, layer, channel, "controls", contrastColumn);
    else drawUnit(tile, layer, channel, "projections", 0);
    left.children[0].classList.toggle("contrasted", contrasted);
    contrastButton.setAttribute("aria-pressed", contrasted);
    said.textContent = contrasted ? "The first projection is contrastive: ours, not the paper’s." : "";
  };
  const images = () => {
    right.replaceChildren(...nine("", wholeImages ? unit.top.map((example) => wholeImage(net, example)) : patches).children);
    right.setAttribute("aria-label", wholeImages ? "Whole images" : "Patches");
    rightTitle.textContent = wholeImages ? "Whole images" : "Patches";
    wholeButton.setAttribute("aria-pressed", wholeImages);
  };
  const whole = () => {
    wholeImages = !wholeImages;
    images();
  };
  const contrastButton = toggle("Contrastive", "c", contrast);
  const wholeButton = toggle("Whole images", "w", whole);
  if (wholeImages) images();

  const element = section("What activates it most",
    layer.saturated.includes(channel) && paragraph(`${integer(unit.at_largest)} of ${count(net.data.images, "image")} reach the largest activation, ${decimal(unit.largest)}. The ${integer(unit.top.length)} shown are the first of them.`),
    el("div", { class: "buttons" }, hasContrast && contrastButton, wholeButton),
    el("div", { class: "pair" },
      el("div", { class: "half" }, leftTitle, left),
      el("div", { class: "half" }, rightTitle, right)),
    said,
    fold(unit.top.length === 1 ? "The image" : `The ${unit.top.length} images`, exampleTable(layer, unit.top)),
    fold("What is shown?", paragraph(`The ${count(unit.top.length, "image")} that activate the channel most, one place in each, strongest first. A frame in a whole image is what the unit sees.`), explain("projection", "patch", hasContrast && "contrastive")));
  return { element, contrast, whole };
}

function toggle(name, key, act) {
  return el("button", { type: "button", class: "toggle", "aria-pressed": "false", "aria-keyshortcuts": key, onclick: act }, name, " ", el("kbd", {}, key));
}

function exampleTable(layer, examples) {
  const classes = layer.net.data.classes.length > 0;
  return sideways("Table of the images", el("table", {},
    el("thead", {}, el("tr", {}, ["image", classes && "class", "activation", "row, column"].filter(Boolean).map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, examples.map((example) => el("tr", {},
      el("th", { scope: "row" }, example.id),
      classes && el("td", {}, example.class === null ? "–" : el("a", { href: classAddress(example.class) }, className(layer.net, example.class))),
      el("td", {}, decimal(example.value)),
      el("td", {}, `${example.y}, ${example.x}`))))));
}
