// Elements, numbers and text. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, to] of Object.entries(value)) element.style.setProperty(name, to);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const largestOf = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const minus = (text) => text.replace("-", "−");
const integer = (value) => minus(value.toLocaleString("en-US"));
const count = (value, one, many = `${one}s`) => `${integer(value)} ${value === 1 ? one : many}`;
const times = (sizes) => sizes.map(integer).join(" × ");

// Three significant digits, or all digits of the integer part.
function decimal(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return minus(value.toExponential(1).replace("e+", "e"));
  if (size >= 100) return integer(Math.round(value));
  return minus(size >= 10 ? value.toFixed(1) : size === 0 ? "0" : size < 0.1 ? value.toFixed(3) : value.toFixed(2));
}

function percent(share) {
  if (share === null || share === undefined) return "–";
  const value = 100 * share;
  const size = Math.abs(value);
  return `${minus(size > 0 && size < 9.95 ? value.toFixed(1) : value.toFixed(0))} %`;
}

const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : minus(value.toFixed(digits)));

function fold(title, ...children) {
  return el("details", { class: "fold" }, el("summary", {}, title), ...children);
}

const paragraph = (...children) => el("p", {}, ...children);

// A list of terms and values; each entry is [term, value, explanation].
function facts(entries) {
  return el("dl", { class: "facts" }, entries.filter(Boolean).map(([term, value, title]) =>
    el("div", { title }, el("dt", {}, term), el("dd", {}, value))));
}

function section(title, ...children) {
  const heading = el("h2", {}, title);
  return el("section", { "aria-label": title }, heading, ...children);
}

// A region that scrolls sideways, and can be scrolled by keyboard.
function sideways(label, ...children) {
  return el("div", { class: "sideways", role: "region", "aria-label": label, tabindex: "0" }, ...children);
}
