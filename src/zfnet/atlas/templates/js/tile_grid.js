// A grid of many tiles, of which only those near the screen are in the document.
//
// Arrow keys move between tiles; one tile is a tab stop. Sizes are known before tiles are drawn.

const GAP = 10;

class TileGrid {
  // cell(item) gives a link; `smallest` is the least width of a cell, `below` the height under the picture,
  // `ratio` the height of the picture by its width.
  constructor({ label, cell, smallest, below, ratio, signal }) {
    Object.assign(this, { cell, smallest, below, ratio });
    this.items = [];
    this.cells = new Map();
    this.current = 0;
    this.element = el("ul", { class: "grid", "aria-label": label, onkeydown: (event) => this.move(event), onfocusin: (event) => this.focused(event) });
    const update = () => {
      if (!this.waiting) this.waiting = requestAnimationFrame(() => this.update());
    };
    window.addEventListener("scroll", update, { signal, passive: true });
    new ResizeObserver(update).observe(this.element);
  }

  show(items) {
    this.items = items;
    this.current = 0;
    this.cells.forEach((cell) => cell.remove());
    this.cells.clear();
    this.update();
  }

  measure() {
    const width = this.element.clientWidth;
    this.columns = Math.max(Math.floor((width + GAP) / (this.smallest + GAP)), 1);
    this.width = (width - GAP * (this.columns - 1)) / this.columns;
    this.height = this.width * this.ratio + this.below;
    this.rows = Math.ceil(this.items.length / this.columns);
    this.element.style.height = `${Math.max(this.rows * (this.height + GAP) - GAP, 0)}px`;
  }

  update() {
    this.waiting = null;
    if (!this.element.isConnected) return;
    this.measure();
    const top = -this.element.getBoundingClientRect().top;
    const screen = window.innerHeight;
    const row = this.height + GAP;
    const first = clamp(Math.floor((top - screen / 2) / row), 0, this.rows) * this.columns;
    const last = clamp(Math.ceil((top + 1.5 * screen) / row), 0, this.rows) * this.columns;
    const wanted = new Set([this.current]);
    for (let place = first; place < Math.min(last, this.items.length); place++) wanted.add(place);
    this.cells.forEach((cell, place) => {
      if (wanted.has(place)) return;
      cell.remove();
      this.cells.delete(place);
    });
    if (!this.items.length) return;
    [...wanted].sort((a, b) => a - b).forEach((place) => this.put(place));
  }

  put(place) {
    let cell = this.cells.get(place);
    if (!cell) {
      const link = this.cell(this.items[place]);
      link.tabIndex = place === this.current ? 0 : -1;
      cell = el("li", { "aria-setsize": this.items.length, "aria-posinset": place + 1, "data-place": place }, link);
      const next = [...this.element.children].find((other) => Number(other.dataset.place) > place);
      this.element.insertBefore(cell, next ?? null);
      this.cells.set(place, cell);
    }
    cell.style.width = `${this.width}px`;
    cell.style.transform = `translate(${(place % this.columns) * (this.width + GAP)}px, ${Math.floor(place / this.columns) * (this.height + GAP)}px)`;
  }

  link(place) {
    return this.cells.get(place)?.querySelector("a");
  }

  focused(event) {
    const place = Number(event.target.closest("li")?.dataset.place);
    if (Number.isNaN(place)) return;
    const before = this.link(this.current);
    if (before) before.tabIndex = -1;
    this.current = place;
    this.link(place).tabIndex = 0;
  }

  move(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const page = Math.max(Math.floor(window.innerHeight / (this.height + GAP)) - 1, 1) * this.columns;
    const last = this.items.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page, Home: -last, End: last };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    const place = this.current + steps[event.key];
    const jumps = ["PageUp", "PageDown", "Home", "End"].includes(event.key);
    if (jumps || (place >= 0 && place <= last)) this.focus(clamp(place, 0, last));
  }

  // Whether the item is there.
  focusItem(item) {
    const place = this.items.indexOf(item);
    if (place >= 0) this.focus(place);
    return place >= 0;
  }

  focus(place) {
    this.put(place);
    const link = this.link(place);
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest" });
  }
}
