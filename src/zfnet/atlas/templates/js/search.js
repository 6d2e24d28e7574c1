// The search and the list of keys, two dialogs.

const MOST_RESULTS = 30;

// Everything whose name has the words: layers, units ("conv5 13" or "conv5/13"), classes, pages.
function search(text, here) {
  const words = text.trim().toLowerCase();
  if (!words) return [];
  const results = [];
  const add = (name, kind, href) => results.push({ name, kind, href });
  const label = (net) => (nets.length === 2 ? `network ${net.number}` : "");
  const number = words.match(/^(.*?)[\s/:,]*(\d+)$/);
  for (const net of nets) {
    if (number) {
      const [, name, digits] = number;
      const channel = Number(digits);
      net.layers.filter((layer) => channel < layer.channels && (name ? layer.name.toLowerCase().includes(name) : true))
        .sort((a, b) => exactness(a, name, here) - exactness(b, name, here))
        .forEach((layer) => add(unitName(layer, channel), `unit ${label(net)}`, unitAddress(layer, channel)));
    }
  }
  const found = [];
  for (const net of nets) net.layers.filter((layer) => layer.name.toLowerCase().includes(words)).forEach((layer) => found.push([layer.name, `layer ${label(net)}`, layerAddress(layer)]));
  const classes = nets.find((net) => net.data.classes.length)?.data.classes ?? [];
  classes.forEach((name, index) => name.toLowerCase().includes(words) && found.push([name, "class", classAddress(index)]));
  const exact = ([name]) => (name.toLowerCase() === words ? 0 : name.toLowerCase().startsWith(words) ? 1 : 2);
  // A layer or class of exactly this name comes before units: "conv5" is also channel 5 of conv1.
  const named = found.sort((a, b) => exact(a) - exact(b)).map(([name, kind, href]) => ({ name, kind, href, exact: name.toLowerCase().startsWith(words) }));
  return [...named.filter((each) => each.exact), ...results, ...named.filter((each) => !each.exact)].slice(0, MOST_RESULTS);
}

const exactness = (layer, name, here) => (layer === here ? 0 : 1) + (layer.name.toLowerCase() === name ? 0 : 2);

function openSearch(here) {
  const dialog = document.getElementById("search");
  const list = el("ul", { id: "search-results", role: "listbox", "aria-label": "Results" });
  const said = el("p", { class: "note", role: "status" });
  let results = [];
  let chosen = 0;
  const input = el("input", {
    type: "text", role: "combobox", "aria-label": "Search", "aria-expanded": "false", "aria-controls": "search-results", "aria-autocomplete": "list",
    placeholder: `${nets[0].layers[0].name} 13, a layer${nets.some((net) => net.data.classes.length) ? ", a class" : ""}`, autocomplete: "off", spellcheck: "false",
    oninput: () => update(),
    onkeydown: (event) => {
      if (event.key === "ArrowDown") choose(chosen + 1);
      else if (event.key === "ArrowUp") choose(chosen - 1);
      else if (event.key === "Enter") open(results[chosen]);
      else return;
      event.preventDefault();
    },
  });
  const open = (result) => {
    if (!result) return;
    dialog.close();
    go(result.href);
  };
  const choose = (place) => {
    if (!results.length) return;
    chosen = (place + results.length) % results.length;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === chosen));
    list.children[chosen].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", `result-${chosen}`);
  };
  const update = () => {
    results = search(input.value, here);
    list.replaceChildren(...results.map((result, i) =>
      el("li", { role: "option", id: `result-${i}`, "aria-selected": "false", onclick: () => open(result) }, el("span", {}, result.name), el("small", {}, result.kind))));
    list.hidden = !results.length;
    input.setAttribute("aria-expanded", String(results.length > 0));
    input.removeAttribute("aria-activedescendant");
    said.textContent = !input.value.trim() || results.length ? "" : "Nothing has this name.";
    choose(0);
  };
  update();
  dialog.replaceChildren(el("div", { class: "dialog" }, input, list, said));
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  dialog.showModal();
  input.focus();
}

const KEYS = [
  ["/", "search for a unit, a layer or a class"],
  ["← →", "the unit, class or pair before and after; in a grid, the next tile"],
  ["↑ ↓", "in a grid, the tile above and below"],
  ["Enter", "open the tile"],
  ["c", "on a unit: the contrastive projection of the strongest example"],
  ["w", "on a unit: whole images instead of patches"],
  ["Escape", "up: from a unit to its layer, from a layer to the overview"],
  ["d", "dark or light"],
  ["?", "this list"],
];

function openKeys() {
  const dialog = document.getElementById("keys");
  dialog.replaceChildren(el("div", { class: "dialog" },
    el("h2", { id: "keys-title" }, "Keys"),
    el("dl", { class: "keys" }, KEYS.map(([key, text]) => el("div", {}, el("dt", {}, key.split(" ").map((each) => el("kbd", {}, each))), el("dd", {}, text)))),
    el("label", { class: "check" },
      el("input", { type: "checkbox", checked: oneKeyActs, onchange: (event) => letOneKeyAct(event.target.checked) }),
      "letters, / and ? act"),
    el("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  dialog.showModal();
}
