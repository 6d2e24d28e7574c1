// Small charts, drawn as SVG or as a list of bars.

// Lines over epochs. `series` has [name, values] of each line; null is an unknown value.
function lineChart(title, epochs, series) {
  const [width, height, left, bottom] = [320, 150, 44, 22];
  const lines = series.map(([name, values]) => [name, epochs.map((epoch, i) => [epoch, values[i]]).filter((point) => point[1] !== null)]);
  const all = lines.flatMap(([, points]) => points.map((point) => point[1]));
  const [low, high] = [Math.min(...all, 0), Math.max(...all, 0)];
  const [first, last] = [epochs[0], epochs.at(-1)];
  const across = (epoch) => left + ((epoch - first) / (last - first || 1)) * (width - left - 8);
  const down = (value) => 8 + (1 - (value - low) / (high - low || 1)) * (height - bottom - 8);
  const path = (points) => points.map(([epoch, value], i) => `${i ? "L" : "M"}${across(epoch).toFixed(1)} ${down(value).toFixed(1)}`).join("");
  const said = lines.map(([name, points]) => `${name} ${decimal(points[0][1])} at epoch ${points[0][0]}, ${decimal(points.at(-1)[1])} at epoch ${points.at(-1)[0]}`);
  return el("figure", { class: "chart" },
    el("figcaption", {}, title, lines.length > 1 && lines.map(([name], i) => el("span", { class: `key line-${i}` }, name))),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: ${said.join("; ")}` },
      [low, high].map((value) => [
        svg("line", { class: "rule", x1: left, x2: width - 8, y1: down(value), y2: down(value) }),
        svg("text", { x: left - 6, y: down(value) + 4, "text-anchor": "end" }, decimal(value))]),
      lines.map(([, points], i) => svg("g", { class: `line-${i}` },
        svg("path", { d: path(points), class: "curve" }),
        points.length <= 12 && points.map(([epoch, value]) => svg("circle", { cx: across(epoch), cy: down(value), r: 2.2 })))),
      svg("text", { x: left, y: height - 5 }, `epoch ${first}`),
      first !== last && svg("text", { x: width - 8, y: height - 5, "text-anchor": "end" }, String(last))));
}

function histogram({ low, high, counts }, total) {
  const [width, height, bottom] = [320, 120, 20];
  const most = Math.max(...counts, 1);
  const step = width / counts.length;
  return el("figure", { class: "chart" },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of the activations of ${count(total, "image")}, from ${decimal(low)} to ${decimal(high)}. The fullest bin has ${count(most, "image")}.` },
      counts.map((value, i) => {
        // The root keeps the few strong images visible beside the many weak ones.
        const size = Math.sqrt(value / most) * (height - bottom - 4);
        const [from, to] = [i, i + 1].map((edge) => decimal(low + ((high - low) * edge) / counts.length));
        return svg("rect", { class: "bar", x: i * step, width: Math.max(step - 1, 0.5), y: height - bottom - size, height: size },
          svg("title", {}, `${from} to ${to}: ${count(value, "image")}`));
      }),
      svg("line", { class: "rule", x1: 0, x2: width, y1: height - bottom, y2: height - bottom }),
      svg("text", { x: 0, y: height - 5 }, decimal(low)),
      svg("text", { x: width, y: height - 5, "text-anchor": "end" }, decimal(high))),
    el("figcaption", {}, "Height is the square root of the number of images."));
}

// Bars with names: each entry is {name, value, href, strong}.
function bars(entries, show = decimal) {
  const most = Math.max(...entries.map((entry) => Math.abs(entry.value ?? 0))) || 1;
  return el("ul", { class: "bars" }, entries.map(({ name, value, href, strong }) =>
    el("li", { class: strong ? "strong" : null },
      el("span", { class: "name", title: name }, href ? el("a", { href }, name) : name),
      el("span", { class: "track", "aria-hidden": "true" },
        el("span", { class: value < 0 ? "fill negative" : "fill", style: { width: `${(100 * Math.abs(value ?? 0)) / most}%` } })),
      el("span", { class: "value" }, show(value)))));
}
