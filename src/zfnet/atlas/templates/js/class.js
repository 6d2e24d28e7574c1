// A class: the channels that tell it from the others, layer by layer.

async function classPage(index) {
  const known = nets.filter((net) => index < net.data.classes.length);
  const name = className(known[0], index);
  const found = await Promise.all(known.map(async (net) => ({ net, layers: (await loadClasses(net))[index] })));
  const { classes } = known[0].data;
  const [before, after] = [index - 1, index + 1].map((other) => (other in classes ? [classAddress(other), classes[other]] : null));
  return {
    title: name,
    nodes: [
      el("header", { class: "head" },
        crumbs(null),
        el("h1", { tabindex: "-1" }, name),
        neighbors(before, after, "classes"),
        el("p", { class: "lead" }, known.map((net) => `${count(net.data.class_images[index], "image")} of this class in ${net.data.name}, ${net.data.split}`).filter((text, i, all) => all.indexOf(text) === i).join("; "), "."),
        fold("What is shown?", paragraph("The channels of each layer that tell this class from all others, strongest first. The number is the AUC."), explain("auc"))),
      found.map(({ net, layers }) => classLayers(net, layers, known.length > 1 ? "h3" : "h2")),
    ],
    key: (event) => {
      if (event.key === "ArrowLeft" && before) go(before[0]);
      else if (event.key === "ArrowRight" && after) go(after[0]);
      else return false;
      return true;
    },
    up: "#/",
  };
}

function classLayers(net, layers, level) {
  const sections = net.layers.map((layer) => {
    const channels = layers[layer.index].slice().sort((a, b) => b[1] - a[1]);
    return el("section", { "aria-label": layer.name },
      el(level, {}, el("a", { href: layerAddress(layer) }, layer.name)),
      channels.length
        ? el("ul", { class: "some-tiles" }, channels.map(([channel, auc]) => el("li", {}, pairTile(layer, channel, fixed(auc)))))
        : paragraph("No channel of this layer tells the class from the others."));
  });
  return level === "h3" ? el("section", { class: "net", "aria-label": `Network ${net.number}` }, el("h2", {}, `${net.number}. ${net.title}`), sections) : sections;
}

// Projection and patch of a channel side by side, with its number and a value.
function pairTile(layer, channel, value) {
  return el("a", { class: "pair-tile", href: unitAddress(layer, channel), title: unitName(layer, channel), "aria-label": `${unitName(layer, channel)}, ${value}` },
    channelTile(layer, channel), channelTile(layer, channel, "", "patch"),
    el("span", { class: "label" }, el("span", {}, String(channel)), el("span", { class: "value" }, value)));
}

function classIndex() {
  return {
    title: "Classes",
    nodes: [el("header", { class: "head" }, crumbs(null), el("h1", { tabindex: "-1" }, "Classes")), classLinks(nets.find((net) => net.data.classes.length))],
    up: "#/",
  };
}
