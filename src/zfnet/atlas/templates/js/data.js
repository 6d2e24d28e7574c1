// The data: overviews from index.html, all other files when they are needed.
//
// fetch does not work from file://, so a file is a script that calls atlas.receive(path, value).

const { nets, compare: hasCompare } = JSON.parse(document.getElementById("atlas-data").textContent);
const UNITS_A_FILE = 32;

nets.forEach((net, place) => {
  net.number = place + 1;
  net.path = `net_${place + 1}`;
  net.layers.forEach((layer, index) => Object.assign(layer, { index, net, path: `${net.path}/${layer.folder}` }));
});

const requests = new Map();

window.atlas = {
  receive(path, value) {
    const request = requests.get(path);
    if (!request) return;
    request.done = true;
    request.resolve(value);
  },
};

function load(path) {
  if (!requests.has(path)) {
    const request = {};
    request.promise = new Promise((resolve, reject) => Object.assign(request, { resolve, reject }));
    requests.set(path, request);
    const script = el("script", { src: path });
    script.onerror = script.onload = () => {
      script.remove();
      if (request.done) return;
      requests.delete(path);
      request.reject(new Error(`${path} cannot be read. The folder of the atlas must be complete: copy it whole, or make it again.`));
    };
    document.head.append(script);
  }
  return requests.get(path).promise;
}

const loadSummary = (layer) => load(`${layer.path}/summary.js`);
const loadClasses = (net) => load(`${net.path}/classes.js`);
const loadCompare = () => load("compare.js");

async function loadUnit(layer, channel) {
  return (await load(`${layer.path}/units_${Math.floor(channel / UNITS_A_FILE)}.js`))[channel];
}

// Addresses. A layer's name is arbitrary text.

const part = encodeURIComponent;
const root = (net) => (net.number === 1 ? "#/" : `#${net.number}/`);
const layerAddress = (layer) => `${root(layer.net)}${part(layer.name)}`;
const unitAddress = (layer, channel) => `${layerAddress(layer)}/${channel}`;
const classAddress = (index) => `#class/${index}`;
const pairAddress = (layer) => `#compare/${part(layer.name)}`;
const sideBySide = (one, channel, two, other) => `#compare/${part(one.name)}/${channel}/${part(two.name)}/${other}`;

const layerNamed = (net, name) => net?.layers.find((layer) => layer.name === name);
const isChannel = (layer, text) => /^\d+$/.test(text) && Number(text) < layer.channels;
const className = (net, index) => net.data.classes[index] ?? `class ${index}`;
const unitName = (layer, channel) => `${layer.name} ${channel}`;
const seen = (layer) => (layer.window ? `${times(layer.window)} pixels` : "the whole image");
