// The comparison of two networks: whole layers, matched channels, two units side by side.

const STATUS = {
  kept: "r with the partner is above chance and at least 0.7.",
  changed: "r with the partner is above chance and below 0.7.",
  lost: "r with the partner is at most chance, or there is no partner.",
  new: "A channel of the second network that is no partner of a kept or changed one.",
  dead: "It has the same activation in all images.",
};

async function comparePage() {
  const compared = await loadCompare();
  const [one, two] = nets;
  return {
    title: "Compare",
    nodes: [
      el("header", { class: "head" },
        crumbs(null),
        el("h1", { tabindex: "-1" }, "Two networks compared"),
        el("p", { class: "lead" }, `1. ${one.title} and 2. ${two.title}, by their activations on the same ${count(compared.images, "image")}.`)),
      section("Channels, layer by layer", countsTable(compared), fold("What do these words mean?", statusWords(), explain("matched"))),
      section("Similarity of the layers", similarityMatrix(compared), fold("What is shown?", explain("cka"))),
    ],
    up: "#/",
  };
}

const statusWords = () => el("dl", { class: "words" }, Object.entries(STATUS).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));

function countsTable({ pairs }) {
  const kinds = Object.keys(STATUS);
  return sideways("Table of the matched channels", el("table", { class: "counts" },
    el("thead", {}, el("tr", {}, ["1", "2", ...kinds, "", "CKA", "r by chance"].map((name) => (name ? el("th", { scope: "col", title: STATUS[name], class: name === "2" ? "text" : null }, name) : el("td"))))),
    el("tbody", {}, pairs.map((pair) => {
      const [one, two] = layersOf(pair);
      const total = sum(kinds.map((kind) => pair.counts[kind] ?? 0)) || 1;
      return el("tr", {},
        el("th", { scope: "row" }, el("a", { href: pairAddress(one) }, one.name)),
        el("td", { class: "text" }, two.name),
        kinds.map((kind) => el("td", {}, pair.counts[kind] ? el("a", { href: `${pairAddress(one)}?only=${kind}`, "aria-label": `${one.name}: ${pair.counts[kind]} ${kind}` }, integer(pair.counts[kind])) : "0")),
        el("td", { class: "stack", "aria-hidden": "true" }, kinds.map((kind) => el("span", { class: kind, style: { width: `${(100 * (pair.counts[kind] ?? 0)) / total}%` } }))),
        el("td", {}, fixed(pair.cka)), el("td", {}, fixed(pair.chance)));
    }))));
}

const layersOf = (pair) => pair.layers.map((index, place) => nets[place].layers[index]);

function similarityMatrix({ cka }) {
  const [one, two] = nets;
  return sideways("Linear CKA of all layers", el("table", { class: "matrix" },
    el("caption", {}, "Linear CKA. Rows: layers of 1. Columns: layers of 2."),
    el("thead", {}, el("tr", {}, el("td"), two.layers.map((layer) => el("th", { scope: "col" }, el("span", {}, layer.name))))),
    el("tbody", {}, cka.map((row, i) => el("tr", {},
      el("th", { scope: "row" }, one.layers[i].name),
      row.map((value) => el("td", { class: "heat", style: { "--heat": String(100 * clamp(value ?? 0, 0, 1)) } }, fixed(value))))))));
}

// All matched channels of a layer, in lists by what became of them.
async function comparedLayerPage(layer, query, { signal }) {
  const compared = await loadCompare();
  const pair = compared.pairs.find((each) => each.layers[0] === layer.index);
  if (!pair) return missingPage(`The layer ${layer.name} has no partner in the other network.`);
  const [one, two] = layersOf(pair);
  const kinds = Object.keys(STATUS).filter((kind) => pair.counts[kind]);
  const state = { only: kinds.includes(query.get("only")) ? query.get("only") : kinds[0] ?? "kept", reversed: query.get("reversed") === "1" };
  const status = el("p", { class: "status", role: "status" });
  const meaning = el("p", {});
  const grid = new TileGrid({ label: `Channels of ${one.name} and ${two.name}`, signal, smallest: 168, below: 22, ratio: largestOf([one, two].map(({ tile }) => tile[0] / tile[1])) / 2, cell: (item) => matchedLink(one, two, item) });
  const update = () => {
    grid.show(matchedItems(pair, state));
    status.textContent = `${count(grid.items.length, "channel")}: ${state.only}`;
    meaning.textContent = STATUS[state.only];
  };
  const change = (key, value) => {
    state[key] = value;
    const kept = new URLSearchParams({ only: state.only, ...(state.reversed && { reversed: "1" }) });
    update();
    replaceAddress(`${pairAddress(one)}?${kept}`);
  };
  update();
  const others = compared.pairs.map((each) => layersOf(each)[0]);
  const place = others.indexOf(one);
  const next = (other) => other && [pairAddress(other), other.name];
  return {
    title: `Compare ${one.name}`,
    nodes: [
      el("header", { class: "head" },
        crumbs(null, ["#compare", "Compare"]),
        el("h1", { tabindex: "-1" }, one.name === two.name ? one.name : `${one.name} and ${two.name}`),
        neighbors(next(others[place - 1]), next(others[place + 1]), "layers"),
        facts([["linear CKA", fixed(pair.cka), explanation("cka")], ["r by chance", fixed(pair.chance), explanation("matched")], ...kinds.map((kind) => [kind, integer(pair.counts[kind]), STATUS[kind]])]),
        fold("What is shown?", paragraph("Left the channel of the first network, right its partner in the second. The number is r, the correlation of their activations over the images."), explain("matched", "cka"), statusWords())),
      el("form", { class: "controls", "aria-label": "Sort and filter", onsubmit: (event) => event.preventDefault() },
        choice("List", state.only, kinds.map((kind) => [kind, `${kind} (${integer(pair.counts[kind])})`]), (value) => change("only", value)),
        el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.reversed, onchange: (event) => change("reversed", event.target.checked) }), "least similar first")),
      status, meaning, grid.element,
    ],
    laidOut: () => grid.update(),
    key: (event) => {
      if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return false;
      if (grid.items.length) grid.focus(grid.current);
      return true;
    },
    up: "#compare",
  };
}

// The partner of a unit in the other network, and what became of the channel; null if its layer has no pair.
function partnerOf(compared, layer, channel) {
  const first = layer.net.number === 1;
  const pair = compared.pairs.find((each) => each.layers[first ? 0 : 1] === layer.index);
  if (!pair) return null;
  const [one, two] = layersOf(pair);
  const [own, other] = first ? [channel, pair.partner[channel]] : [pair.partner.indexOf(channel), channel];
  const known = own >= 0 && other >= 0;
  const status = first || (known && ["kept", "changed"].includes(pair.status[own])) ? pair.status[own] : pair.new.includes(channel) ? "new" : "dead";
  return { status, layer: first ? two : one, channel: first ? other : own, score: known ? pair.score[own] : null, href: known ? sideBySide(one, own, two, other) : null };
}

function partnerSection(compared, layer, channel) {
  const partner = partnerOf(compared, layer, channel);
  if (!partner) return null;
  const { net } = partner.layer;
  return section("In the other network",
    el("p", {}, el("strong", {}, partner.status), partner.href
      ? [`. Its partner in ${net.number}. ${net.title} is `, el("a", { href: unitAddress(partner.layer, partner.channel) }, unitName(partner.layer, partner.channel)), `, r = ${fixed(partner.score)}.`]
      : `. It has no partner in ${net.number}. ${net.title}.`),
    partner.href && el("div", { class: "partner" }, el("ul", { class: "connections" }, el("li", {}, el("a", { href: partner.href, "aria-label": "Side by side" },
      channelTile(partner.layer, partner.channel), el("span", { class: "label" }, "side by side"))))),
    fold("What do these words mean?", statusWords(), explain("matched")));
}

// The channels of a list: {channel, partner, score}, most similar first.
function matchedItems(pair, { only, reversed }) {
  const items = only === "new"
    ? pair.new.map((partner) => ({ channel: -1, partner, score: null }))
    : pair.status.flatMap((status, channel) => (status === only ? [{ channel, partner: pair.partner[channel], score: pair.score[channel] }] : []));
  items.sort((a, b) => (a.score === null) - (b.score === null) || (b.score ?? 0) - (a.score ?? 0) || a.channel - b.channel || a.partner - b.partner);
  return reversed ? items.reverse() : items;
}

function matchedLink(one, two, { channel, partner, score }) {
  const tile = (layer, at) => (at < 0 ? el("span", { class: "absent", style: { "aspect-ratio": `${layer.tile[1]} / ${layer.tile[0]}` } }) : channelTile(layer, at));
  const href = channel < 0 ? unitAddress(two, partner) : partner < 0 ? unitAddress(one, channel) : sideBySide(one, channel, two, partner);
  const text = (at) => (at < 0 ? "–" : String(at));
  const name = `1: ${one.name} ${channel < 0 ? "none" : channel}, 2: ${two.name} ${partner < 0 ? "none" : partner}${score === null ? "" : `, r ${fixed(score)}`}`;
  return el("a", { class: "pair-tile", href, "aria-label": name, title: name },
    tile(one, channel), tile(two, partner),
    el("span", { class: "label" }, el("span", {}, `${text(channel)} · ${text(partner)}`), el("span", { class: "value" }, score === null ? "" : fixed(score))));
}

async function sideBySidePage(one, channel, two, other) {
  const compared = await loadCompare();
  const [left, right] = await Promise.all([loadUnit(one, channel), loadUnit(two, other)]);
  const pair = compared.pairs.find((each) => each.layers[0] === one.index && each.layers[1] === two.index);
  const matched = pair?.partner[channel] === other;
  const near = (step) => {
    for (let at = channel + step; pair && at >= 0 && at < one.channels; at += step) {
      if (pair.partner[at] >= 0) return [sideBySide(one, at, two, pair.partner[at]), `${at}`];
    }
    return null;
  };
  const [before, after] = [near(-1), near(1)];
  return {
    title: `${unitName(one, channel)} and ${unitName(two, other)}`,
    nodes: [
      el("header", { class: "head" },
        crumbs(null, ["#compare", "Compare"], pair && [pairAddress(one), one.name]),
        el("h1", { tabindex: "-1" }, `${unitName(one, channel)} and ${unitName(two, other)}`),
        neighbors(before, after, "pairs"),
        el("p", { class: "lead" }, matched ? `Partners with r = ${fixed(pair.score[channel])}: ${pair.status[channel]}.` : "These two units are not matched to each other.")),
      el("div", { class: "side-by-side" }, [[one, left], [two, right]].map(([layer, unit]) => oneSide(layer, unit))),
    ],
    key: (event) => {
      if (event.key === "ArrowLeft" && before) go(before[0]);
      else if (event.key === "ArrowRight" && after) go(after[0]);
      else return false;
      return true;
    },
    up: pair ? pairAddress(one) : "#compare",
  };
}

function oneSide(layer, unit) {
  const { net } = layer;
  const { channel } = unit;
  const nine = (row, kind) => el("ul", { class: "nine", "aria-label": `${kind}s of network ${net.number}` }, unit.top.map((example, i) =>
    el("li", { title: caption(layer, example) }, unitTile(layer, channel, row, i, `${kind} ${i + 1}: ${caption(layer, example)}`))));
  const entries = unit.class_means.map((value, index) => ({ name: className(net, index), value, href: classAddress(index), strong: unit.best?.class === index }))
    .sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  return el("section", { "aria-label": `Network ${net.number}` },
    el("h2", {}, `${net.number}. `, el("a", { href: unitAddress(layer, channel) }, unitName(layer, channel))),
    el("p", { class: "quiet" }, net.title),
    unit.top.length ? el("div", { class: "pair" }, nine("projections", "projection"), nine("patches", "patch")) : paragraph("No image activates this channel."),
    facts([["largest", decimal(unit.largest), explanation("largest")], ["active", percent(unit.active), explanation("active")], unit.best && ["best class", `${className(net, unit.best.class)}, AUC ${fixed(unit.best.auc)}`, explanation("auc")]]),
    histogram(unit.histogram, net.data.sampled),
    net.data.classes.length > 0 && [el("h3", {}, "Mean activation by class"), bars(entries.slice(0, 8))]);
}
