// From an address to a page: navigation, focus, scroll positions, keys, and the color scheme.

const main = document.getElementById("main");
const scrolls = new Map(); // how far each entry of the history was scrolled, by its key
let current = {};
let leaving = new AbortController();
let turn = 0;
let key = null; // of the entry that is shown

const go = (address) => {
  location.hash = address;
};

// Changes the address and adds nothing to the history.
function replaceAddress(address) {
  history.replaceState(history.state, "", address);
}

function missingPage(text) {
  return { title: "Not found", nodes: [el("header", { class: "head" }, crumbs(null), el("h1", { tabindex: "-1" }, "Not found"), paragraph(text))], up: "#/" };
}

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  return { parts: path.split("/").map((text) => decodeURIComponent(text)), query: new URLSearchParams(query) };
}

function pageOf(hash, context) {
  let address;
  try {
    address = parse(hash);
  } catch {
    return missingPage("This address is damaged.");
  }
  const { parts: [first, ...rest], query } = address;
  if (first === "" || first === "1" || first === "2") {
    const net = nets[first === "2" ? 1 : 0];
    if (!rest.length || (rest.length === 1 && rest[0] === "")) return overviewPage();
    const layer = layerNamed(net, rest[0]);
    if (!layer) return missingPage(`There is no layer ${rest[0]}.`);
    context.layer = layer;
    if (rest.length === 1) return layerPage(layer, query, context);
    if (rest.length === 2 && isChannel(layer, rest[1])) return unitPage(layer, Number(rest[1]));
    return missingPage(`The layer ${layer.name} has the channels 0 to ${layer.channels - 1}.`);
  }
  if (first === "class") {
    const most = Math.max(...nets.map((net) => net.data.classes.length));
    if (!rest.length && most) return classIndex();
    if (rest.length === 1 && /^\d+$/.test(rest[0]) && Number(rest[0]) < most) return classPage(Number(rest[0]));
    return missingPage("There is no such class.");
  }
  if (first === "compare" && hasCompare) {
    const [one, two] = [layerNamed(nets[0], rest[0]), layerNamed(nets[1], rest[2])];
    if (!rest.length) return comparePage();
    if (rest.length === 1 && one) return comparedLayerPage(one, query, context);
    if (rest.length === 4 && one && two && isChannel(one, rest[1]) && isChannel(two, rest[3])) return sideBySidePage(one, Number(rest[1]), two, Number(rest[3]));
    return missingPage("There is no such pair.");
  }
  return missingPage("Nothing has this address.");
}

async function show() {
  const mine = ++turn;
  const wait = setTimeout(() => main.setAttribute("aria-busy", "true"), 150);
  const controller = new AbortController();
  const context = { signal: controller.signal, left: current, layer: null };
  let page;
  try {
    page = await pageOf(location.hash, context);
  } catch (error) {
    page = { title: "Error", nodes: [el("header", { class: "head" }, crumbs(null), el("h1", { tabindex: "-1" }, "This page cannot be shown"), paragraph(error.message))], up: "#/" };
  }
  clearTimeout(wait);
  if (mine !== turn) return controller.abort();
  leaving.abort();
  leaving = controller;
  const first = key === null;
  const samePlace = current.from !== undefined && page.from !== undefined && current.layer === context.layer;
  const kept = window.scrollY;
  key = history.state?.key;
  const known = scrolls.get(key);
  if (!key) {
    key = `${Date.now()} ${Math.random()}`;
    history.replaceState({ key }, "");
  }
  current = { ...page, layer: context.layer };
  main.replaceChildren(...page.nodes.flat(Infinity).filter(Boolean));
  main.removeAttribute("aria-busy");
  document.title = page.title === nets[0].title ? page.title : `${page.title} – ${nets.map((net) => net.title).join(" and ")}`;
  showNav(context.layer);
  page.laidOut?.();
  window.scrollTo(0, known ?? (samePlace ? kept : 0));
  if (!page.focus?.() && !first) main.querySelector("h1").focus({ preventScroll: true });
  performance.mark("atlas-shown");
}

function showNav(layer) {
  const here = location.hash.replace(/\?.*/s, "");
  const link = (href, name, on) => el("a", { href, "aria-current": on ? "page" : null }, name);
  const classes = nets.some((net) => net.data.classes.length);
  const layers = el("select", { "aria-label": "Go to a layer", onchange: (event) => go(event.target.value) },
    el("option", { value: "", selected: !layer, disabled: true, hidden: true }, "Layers"),
    nets.map((net) => {
      const options = net.layers.map((each) => el("option", { value: layerAddress(each), selected: each === layer }, each.name));
      return nets.length === 2 ? el("optgroup", { label: `${net.number}. ${net.title}` }, options) : options;
    }));
  document.getElementById("site-nav").replaceChildren(
    el("div", { class: "links" }, link("#/", "Overview", here === "" || here === "#" || here === "#/"), layers,
      classes && link("#class", "Classes", here.startsWith("#class")),
      hasCompare ? link("#compare", "Compare", here.startsWith("#compare")) : ""),
    el("div", { class: "tools" },
      el("button", { type: "button", onclick: () => openSearch(current.layer), "aria-keyshortcuts": "/" }, "Search ", el("kbd", {}, "/")),
      el("button", { type: "button", onclick: switchScheme, class: "scheme", "aria-keyshortcuts": "d" }, isDark() ? "Light" : "Dark"),
      el("button", { type: "button", onclick: openKeys, "aria-label": "Keys", "aria-keyshortcuts": "?" }, "?")));
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";

function switchScheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("atlas-theme", theme);
  } catch { /* remembered only while the page is open */ }
  showScheme();
}

function showScheme() {
  document.querySelector(".scheme").textContent = isDark() ? "Light" : "Dark";
}

let oneKeyActs = true; // a single letter, / or ?
try {
  oneKeyActs = localStorage.getItem("atlas-keys") !== "off";
} catch { /* no storage */ }

function letOneKeyAct(on) {
  oneKeyActs = on;
  try {
    localStorage.setItem("atlas-keys", on ? "on" : "off");
  } catch { /* remembered only while the page is open */ }
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target.closest?.("input, select, textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (event.key.length === 1 && !oneKeyActs) return;
  const scrolled = event.target.closest?.(".sideways") && event.key.startsWith("Arrow"); // it scrolls the region
  if (event.key === "/") openSearch(current.layer);
  else if (event.key === "?") openKeys();
  else if (event.key === "d") switchScheme();
  else if (event.key === "Escape" && current.up) go(current.up);
  else if (scrolled || !current.key?.(event)) return;
  event.preventDefault();
}

history.scrollRestoration = "manual";
prefersDark.addEventListener("change", showScheme);
window.addEventListener("hashchange", show);
window.addEventListener("scroll", () => scrolls.set(key, window.scrollY), { passive: true });
document.addEventListener("keydown", pressed);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById("site-foot").append(el("p", {}, nets.map((net) => `${net.net.name}, checkpoint ${net.net.hash}`).join(" · "), ` · zfnet ${nets[0].software}`));
show();
