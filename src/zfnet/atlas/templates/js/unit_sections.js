// The other sections of a unit's page.

const pictureOf = (tile, text, title) => el("figure", { title }, tile, el("figcaption", {}, text));

function controlsSection(layer, unit) {
  const { channel } = unit;
  const first = caption(layer, unit.top[0]);
  const other = unit.controls?.random_channel;
  const tile = (row, column, label) => unitTile(layer, channel, row, column, label);
  const figures = layer.controls.map((name, column) => {
    const [title, text] = CONTROLS[name] ?? [name, ""];
    const heading = name === "random_channel" && other !== undefined ? ["Channel ", el("a", { href: unitAddress(layer, other) }, String(other))] : title;
    return pictureOf(tile("controls", column, `${title}: ${first}`), heading, text);
  });
  return section("The strongest example in other ways",
    el("div", { class: "row-of", style: { "--columns": layer.controls.length + 2 } },
      pictureOf(tile("patches", 0, `patch: ${first}`), "Patch"),
      pictureOf(tile("projections", 0, `projection: ${first}`), "Deconvnet"),
      figures),
    fold("What is shown?", paragraph("All are made from the strongest example, at the same place. A projection is worth trusting if it differs from that of another channel, and vanishes when the weights are random."),
      el("dl", { class: "words" }, layer.controls.filter((name) => CONTROLS[name]).map((name) => el("div", {}, el("dt", {}, CONTROLS[name][0]), el("dd", {}, CONTROLS[name][1]))))));
}

function examplesSection(layer, unit) {
  return section("Ordinary examples",
    el("ul", { class: "row-of examples" }, unit.examples.map((example, i) => el("li", {},
      example.value > 0
        ? unitTile(layer, unit.channel, "example_projections", i, `projection: ${caption(layer, example)}`)
        : blank(layer.tile, "no projection: the activation is 0"),
      unitTile(layer, unit.channel, "example_patches", i, `patch: ${caption(layer, example)}`),
      el("p", {}, el("strong", {}, percent(example.quantile)), el("br"), decimal(example.value)),
    ))),
    fold("What is shown?", paragraph("The best examples flatter a unit. These are images at fixed quantiles of its activation: at 75 %, three quarters of all images activate it less. Where the activation is 0 there is nothing to project."), exampleTable(layer, unit.examples)));
}

function numbersSection(layer, unit, summary) {
  const { net } = layer;
  const jump = summary.last_jump?.[unit.channel];
  const notes = ["dominant", "saturated"].filter((word) => layer[word].includes(unit.channel));
  return section("Over all images",
    facts([
      ["largest", decimal(unit.largest), explanation("largest")],
      ["mean ± deviation", `${decimal(unit.mean)} ± ${decimal(unit.deviation)}`],
      ["active", percent(unit.active), explanation("active")],
      unit.best && ["best class", el("a", { href: classAddress(unit.best.class) }, className(net, unit.best.class))],
      unit.best && ["AUC", `${fixed(unit.best.auc)}, ${count(unit.best.images, "image")}`, explanation("auc")],
      unit.energy_on_object !== null && ["energy on object", `${percent(unit.energy_on_object)}${layer.energy_by_chance === null ? "" : `, by chance ${percent(layer.energy_by_chance)}`}`, explanation("object")],
      jump ? ["last jump", `epoch ${jump}`, explanation("jump")] : null,
      notes.length > 0 && ["note", notes.join(", "), notes.map(explanation).join(" ")],
    ]),
    histogram(unit.histogram, net.data.sampled),
    fold("What do these numbers mean?", paragraph("The histogram counts the sampled images by their activation."),
      explain("activation", "largest", "active", ...(unit.best ? ["auc"] : []), ...(unit.energy_on_object === null ? [] : ["object"]), ...(jump ? ["jump"] : []))));
}

function classesSection(layer, unit) {
  const { net } = layer;
  const entries = unit.class_means.map((value, index) => ({ name: className(net, index), value, href: classAddress(index), strong: unit.best?.class === index }))
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  const most = 12;
  return section("Mean activation by class",
    bars(entries.slice(0, most)),
    unit.best && el("p", { class: "note" }, "Bold: the class that it tells from the others best."),
    entries.length > most && fold(`All ${integer(entries.length)} classes`, bars(entries)));
}

function connectionsSection(layer, unit) {
  const { net } = layer;
  const list = (title, entries) => entries.length > 0 && [
    el("h3", {}, title),
    el("ul", { class: "connections" }, entries.map(({ layer: index, channel, share }) => {
      const other = net.layers[index];
      return el("li", {}, el("a", { href: unitAddress(other, channel), title: `${unitName(other, channel)}: ${percent(share)}` },
        channelTile(other, channel),
        el("span", { class: "label" }, unitName(other, channel)),
        el("span", { class: share < 0 ? "value negative" : "value" }, percent(share))));
    }))];
  const unfed = layer.index > 0 && !unit.feeds.length && layer.saturated.includes(unit.channel);
  if (!unfed && !unit.feeds.length && !unit.read_by.length) return null;
  return section("Connections", unfed && paragraph("Nothing feeds it: its activation no longer grows, and its gradient is 0."), list("Is fed by", unit.feeds), list("Is read by", unit.read_by), fold("What is shown?", explain("share")));
}

function evolutionSection(layer, unit) {
  const { epochs, images, values, drawn, shown } = unit.evolution;
  const chart = epochs.length > 1 && lineChart("Largest activation over the training images", epochs, [["", values]]);
  const jumped = (i) => i > 0 && images[i] !== images[i - 1];
  return section("Evolution",
    drawn && el("ul", { class: "row-of evolution", style: { "--columns": shown.length } }, shown.map((i, column) => el("li", {},
      evolutionTile(layer, unit.channel, "projection", column, `projection after epoch ${epochs[i]}, activation ${decimal(values[i])}`),
      evolutionTile(layer, unit.channel, "patch", column, `patch after epoch ${epochs[i]}, ${images[i]}`),
      el("p", {}, el("strong", {}, `epoch ${epochs[i]}`), el("br"), decimal(values[i]), jumped(i) && el("span", { class: "jump" }, " jump"))))),
    chart,
    fold("What is shown?", paragraph("The training image that activates the channel most after an epoch. It is a jump if another image has taken its place since the epoch before."), explain("jump"),
      sideways("Table of the epochs", el("table", {},
        el("thead", {}, el("tr", {}, ["epoch", "strongest image", "activation"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, epochs.map((epoch, i) => el("tr", {}, el("th", { scope: "row" }, epoch), el("td", {}, images[i]), el("td", {}, decimal(values[i])))))))));
}

function citeSection(layer, channel) {
  const { net } = layer;
  const text = `Layer ${layer.name}, channel ${channel} of ${net.net.name} (checkpoint ${net.net.hash}). Data: ${net.data.name}, ${net.data.split}, ${count(net.data.images, "image")}. Atlas by zfnet ${net.software}, index.html${unitAddress(layer, channel)}`;
  const line = el("p", { class: "cite" }, text);
  const said = el("span", { role: "status" });
  const copy = async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(line);
      done = document.execCommand("copy");
    }
    said.textContent = done ? "Copied." : "Select the line and copy it.";
  };
  return section("Cite", line, el("div", { class: "buttons" }, el("button", { type: "button", onclick: copy }, "Copy"), said));
}
