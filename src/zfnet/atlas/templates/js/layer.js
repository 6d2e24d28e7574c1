// A layer: all channels as tiles, sorted and filtered. The choices are part of the address.

const SORTS = {
  number: { name: "number", value: (_, channel) => channel, show: () => "", ascending: true },
  largest: { name: "largest activation", value: (s, c) => s.largest[c], show: decimal, word: "largest" },
  auc: { name: "selectivity for a class", value: (s, c) => s.auc[c], show: (value) => fixed(value), word: "auc", there: (s) => s.auc.some((value) => value !== null) },
  active: { name: "share of images that activate it", value: (s, c) => s.active[c], show: percent, word: "active" },
  object: { name: "energy on the object", value: (s, c) => s.energy_on_object[c], show: percent, word: "object", there: (s) => s.energy_on_object },
  jump: { name: "epoch of the last jump", value: (s, c) => s.last_jump[c] || null, show: (value) => (value === null ? "–" : integer(value)), word: "jump", there: (s) => s.last_jump },
};

const orders = new Map(); // the order in which a layer was shown last: {channels, name}, by the layer's path
let shownKind = "projection";

async function layerPage(layer, query, { signal, left }) {
  const summary = await loadSummary(layer);
  const { net } = layer;
  const sorts = Object.entries(SORTS).filter(([, sort]) => !sort.there || sort.there(summary));
  const state = {
    sort: sorts.some(([name]) => name === query.get("sort")) ? query.get("sort") : "number",
    reversed: query.get("reversed") === "1",
    class: query.get("class") ?? "",
    only: query.get("only") ?? "",
    text: query.get("text") ?? "",
  };

  const status = el("p", { class: "status", role: "status" });
  const none = el("p", { class: "none", hidden: true }, "No channel matches.");
  const grid = new TileGrid({
    label: `Channels of ${layer.name}`, signal, smallest: 88, below: 22, ratio: layer.tile[0] / layer.tile[1],
    cell: (channel) => tileLink(layer, summary, channel, SORTS[state.sort]),
  });

  const update = () => {
    const channels = arrange(layer, summary, state);
    orders.set(layer.path, { channels, name: SORTS[state.sort].name, address: address() });
    grid.show(channels);
    status.textContent = channels.length === layer.channels ? count(layer.channels, "channel") : `${integer(channels.length)} of ${count(layer.channels, "channel")}`;
    none.hidden = channels.length > 0;
  };
  const address = () => {
    const kept = new URLSearchParams(Object.entries({ ...state, sort: state.sort === "number" ? "" : state.sort, reversed: state.reversed ? "1" : "" }).filter(([, value]) => value));
    return layerAddress(layer) + (String(kept) && `?${kept}`);
  };
  const change = (key, value) => {
    state[key] = value;
    update();
    replaceAddress(address());
  };

  const used = new Map();
  summary.best_class.forEach((index) => index >= 0 && used.set(index, (used.get(index) ?? 0) + 1));
  const controls = el("form", { class: "controls", onsubmit: (event) => event.preventDefault(), "aria-label": "Sort and filter" },
    choice("Sort by", state.sort, sorts.map(([name, sort]) => [name, sort.name]), (value) => change("sort", value)),
    el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.reversed, onchange: (event) => change("reversed", event.target.checked) }), "reversed"),
    used.size > 0 && choice("Best class", state.class, [["", "all"], ...[...used].sort(([a], [b]) => a - b).map(([index, n]) => [String(index), `${className(net, index)} (${n})`])], (value) => change("class", value)),
    layer.dead.length + layer.dominant.length + layer.saturated.length > 0 && choice("Show", state.only, [["", "all channels"], ["alive", "not dead"], ...["dead", "dominant", "saturated"].map((which) => [which, `${which} (${layer[which].length})`])], (value) => change("only", value)),
    el("label", {}, "Find", el("input", { type: "search", value: state.text, placeholder: used.size ? "13, 20-29 or a class" : "13 or 20-29", spellcheck: "false", oninput: (event) => change("text", event.target.value) })),
    choice("Tiles", shownKind, [["projection", "projections"], ["patch", "patches"]], (value) => {
      shownKind = value;
      update();
    }));

  update();
  const [before, after] = [net.layers[layer.index - 1], net.layers[layer.index + 1]];
  return {
    title: layer.name,
    nodes: [
      el("header", { class: "head" },
        crumbs(net),
        el("h1", { tabindex: "-1" }, layer.name),
        neighbors(before && [layerAddress(before), before.name], after && [layerAddress(after), after.name], "layers"),
        facts([
          ["channels", integer(layer.channels)],
          ["size", times(layer.size)],
          ["receptive field", seen(layer), explanation("sees")],
          ["dead", integer(layer.dead.length), explanation("dead")],
          ["dominant", integer(layer.dominant.length), explanation("dominant")],
          ["saturated", integer(layer.saturated.length), explanation("saturated")],
          net.data.classes.length > 0 && ["selective", integer(layer.selective), explanation("selective")],
          layer.energy_on_object !== null && ["energy on object", `${percent(layer.energy_on_object)}, by chance ${percent(layer.energy_by_chance)}`, explanation("object")],
        ]),
        layer.rules && paragraph("Projected by extended rules: ", layer.rules),
        layer.warnings.length > 0 && fold(el("span", { class: "caution" }, `What could mislead (${layer.warnings.length})`), el("ul", { class: "warnings" }, layer.warnings.map((warning) => el("li", {}, warning)))),
        layer.dead.length === layer.channels && paragraph("No image activates any channel of this layer. Its tiles are empty."),
        fold("What is shown?", paragraph(`Each tile is the projection of the channel’s strongest activation. Point at a tile or focus it to see the patch.`),
          explain("projection", "patch", ...sorts.map(([, sort]) => sort.word).filter(Boolean)))),
      controls, status, grid.element, none,
    ],
    laidOut: () => grid.update(),
    focus: () => left.layer === layer && grid.focusItem(left.from), // the unit that was shown before
    key: (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return false;
      if (grid.items.length) grid.focus(grid.current);
      return true;
    },
    up: "#/",
  };
}

// The channels that pass the filters, in order.
function arrange(layer, summary, state) {
  const sort = SORTS[state.sort];
  const text = state.text.trim().toLowerCase();
  const range = text.match(/^(\d+)(?:\s*[-–]\s*(\d+))?$/);
  const inText = (channel) => {
    if (range) return range[2] === undefined ? String(channel).startsWith(range[1]) : channel >= Number(range[1]) && channel <= Number(range[2]);
    const index = summary.best_class[channel];
    return index >= 0 && className(layer.net, index).toLowerCase().includes(text);
  };
  const special = new Set(layer[state.only] ?? []);
  const channels = Array.from({ length: layer.channels }, (_, channel) => channel).filter((channel) =>
    (!state.class || summary.best_class[channel] === Number(state.class))
    && (!state.only || (state.only === "alive" ? !summary.dead[channel] : special.has(channel)))
    && (!text || inText(channel)));
  const sign = Boolean(sort.ascending) === state.reversed ? -1 : 1;
  channels.sort((a, b) => {
    const [first, second] = [sort.value(summary, a), sort.value(summary, b)];
    if (first === null || second === null) return (first === null) - (second === null) || a - b; // unknown values last
    return sign * (first - second) || a - b;
  });
  return channels;
}

function tileLink(layer, summary, channel, sort) {
  const dead = summary.dead[channel];
  const value = sort.show(sort.value(summary, channel));
  const best = summary.best_class[channel];
  const name = `${unitName(layer, channel)}${value ? `, ${sort.name} ${value}` : ""}${best >= 0 ? `, best class ${className(layer.net, best)}` : ""}${dead ? ", dead" : ""}`;
  const other = shownKind === "projection" ? "patch" : "projection";
  const tile = dead ? blank(layer.tile) : channelTile(layer, channel, "", shownKind);
  const show = (kind) => () => !dead && drawChannel(tile, layer, channel, kind);
  return el("a", { href: unitAddress(layer, channel), "aria-label": name, title: name, onmouseenter: show(other), onmouseleave: show(shownKind), onfocus: show(other), onblur: show(shownKind) },
    tile, el("span", { class: "label" }, el("span", {}, String(channel)), el("span", { class: "value" }, dead ? "dead" : value)));
}

// Parts of several pages

function choice(label, value, options, change) {
  return el("label", {}, label, el("select", { onchange: (event) => change(event.target.value) },
    options.map(([key, name]) => el("option", { value: key, selected: key === value }, name))));
}

function crumbs(net, ...links) {
  const trail = [["#/", net ? (nets.length === 2 ? `${net.number}. ${net.title}` : net.title) : "Overview"], ...links];
  return el("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, el("ol", {}, trail.map(([href, name]) => el("li", {}, el("a", { href }, name)))));
}

function neighbors(before, after, of, where) {
  if (!before && !after) return null;
  return el("nav", { class: "neighbors", "aria-label": `Neighboring ${of}` },
    before && el("a", { href: before[0], rel: "prev" }, `← ${before[1]}`),
    after && el("a", { href: after[0], rel: "next" }, `${after[1]} →`),
    where && el("span", { class: "order" }, where));
}
