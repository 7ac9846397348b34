import { Browser } from './browser.js';
import { Server } from './server.js';

const $ = (id) => document.getElementById(id);
const canvas = $('canvas');
const pen = canvas.getContext('2d', { willReadFrequently: true });
const PEN = 12;
// From so many classes on they can be searched.
const MANY = 12;

// What is on the canvas: a picture below, and strokes, each a list of points.
let picture = null;
let strokes = [];
let asked = 0;

function redraw() {
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) {
    const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    pen.drawImage(picture, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  }
  pen.strokeStyle = '#000';
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = 'round';
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...stroke[0]);
    // A point alone is a dot.
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke) pen.lineTo(...point);
    pen.stroke();
  }
}

const empty = () => !picture && strokes.length === 0;

// A folder of files answers in this browser alone; a server's page may ask either.
const server = document.documentElement.dataset.answers === 'server'
  ? new Server((locked) => { $('unlock').hidden = !locked; }) : null;
const files = server
  ? { tower: () => server.bytes('tower'), gallery: () => server.bytes('gallery/file') }
  : { tower: () => Browser.bytes('tower.onnx'), gallery: () => Browser.bytes('gallery.safetensors') };
// Who answers: a promise, so that no picture goes elsewhere while a browser gets ready.
let answers = server ? Promise.resolve(server) : Browser.open(files);

function say(text, quiet) {
  $('answer').textContent = text;
  $('answer').className = quiet ? 'quiet' : '';
}

function forget() {
  $('nearest').replaceChildren();
  $('details').textContent = '';
  $('ink').hidden = true;
}

async function classify() {
  const turn = ++asked;
  $('answer').ariaBusy = !empty();
  if (empty()) {
    say('Draw, or drop a picture on this page.', true);
    return forget();
  }
  try {
    const answer = await (await answers).classify(canvas);
    if (turn === asked) show(answer);
  } catch (error) {
    if (turn === asked) {
      say(error.message, true);
      forget();
    }
  }
  if (turn === asked) $('answer').ariaBusy = false;
}

function show(answer) {
  say(answer.label ?? 'unknown');
  const farthest = Math.max(...answer.nearest.map((near) => near.distance)) || 1;
  $('nearest').replaceChildren(...answer.nearest.map((near) => {
    const row = document.createElement('tr');
    row.insertCell().textContent = near.label;
    const meter = document.createElement('meter');
    // Nearer is longer.
    meter.value = 1 - near.distance / (1.1 * farthest);
    row.insertCell().append(meter);
    row.insertCell().textContent = near.distance.toPrecision(4);
    return row;
  }));
  const stale = answer.stale ? ', chosen before the gallery changed' : '';
  const limit = answer.threshold === null ? ''
    : `; score ${answer.strangeness.toPrecision(4)}, unknown beyond ${answer.threshold.toPrecision(4)}${stale}`;
  $('details').textContent = `${answer.milliseconds.toFixed(2)} ms${limit}`;
  $('ink').src = answer.ink;
  $('ink').hidden = false;
}

async function refresh() {
  try {
    list(await (await answers).gallery());
  } catch (error) {
    $('about').textContent = error.message;
  }
}

function list({ tower, asked_by, runtime, classes, editable, gallery, doubts, keeps_pictures }) {
  const note = doubts ? `; note: ${doubts}` : '';
  const asks = asked_by ? `, asked by ${asked_by}` : '';
  $('about').textContent = `${classes.length} classes in ${gallery}; tower ${tower}${asks} on ${runtime}${note}`;
  $('teach').hidden = !editable;
  $('labels').replaceChildren(...classes.map((entry) => new Option(entry.label)));
  $('find').hidden = classes.length < MANY;
  $('classes').replaceChildren(...classes.map((entry) => {
    const item = document.createElement('li');
    item.dataset.label = entry.label.toLowerCase();
    const count = document.createElement('small');
    count.textContent = ` ×${entry.examples}`;
    item.append(keeps_pictures ? shower(entry.label, item) : entry.label, count);
    if (editable) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = '✕';
      button.ariaLabel = `Remove ${entry.label}`;
      button.onclick = () => change(() => {
        if (!confirm(`Remove ${entry.label} and its ${entry.examples} examples?`)) return;
        return server.remove(entry.label);
      });
      item.append(button);
    }
    return item;
  }));
  find();
}

// A class's name that shows and hides the pictures of its first examples.
function shower(label, item) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'name';
  button.textContent = label;
  button.title = 'Show its pictures';
  button.ariaExpanded = 'false';
  button.onclick = async () => {
    const shown = item.querySelector('.shown');
    button.ariaExpanded = String(!shown);
    if (shown) return shown.remove();
    try {
      const { examples } = await api('GET', 'examples', { label });
      item.append(pictures(examples));
    } catch (error) {
      button.ariaExpanded = 'false';
      say(error.message, true);
    }
  };
  return button;
}

function pictures(examples) {
  const shown = document.createElement('div');
  shown.className = 'shown';
  for (const { source, thumbnail } of examples) {
    if (!thumbnail) continue;
    const image = document.createElement('img');
    image.src = thumbnail;
    image.alt = image.title = source;
    shown.append(image);
  }
  if (!shown.children.length) shown.textContent = 'no picture was kept';
  return shown;
}

// Shows the classes whose names hold what is typed.
function find() {
  const typed = $('find').hidden ? '' : $('find').value.trim().toLowerCase();
  for (const item of $('classes').children) item.hidden = !item.dataset.label.includes(typed);
}

async function change(work) {
  try {
    await work();
  } catch (error) {
    return say(error.message, true);
  }
  await refresh();
  await classify();
}

const point = (event) => [
  (event.offsetX * canvas.width) / canvas.clientWidth,
  (event.offsetY * canvas.height) / canvas.clientHeight,
];

canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  strokes.push([point(event)]);
  redraw();
};
canvas.onpointermove = (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  strokes.at(-1).push(point(event));
  redraw();
};
canvas.onpointerup = canvas.onpointercancel = () => classify();

$('undo').onclick = () => {
  if (strokes.pop() === undefined) picture = null;
  redraw();
  classify();
};
$('clear').onclick = () => {
  [picture, strokes] = [null, []];
  redraw();
  classify();
};

async function open(file) {
  if (!file) return;
  try {
    [picture, strokes] = [await createImageBitmap(file), []];
  } catch {
    return say(`${file.name} is not a picture that this browser can show`, true);
  }
  redraw();
  classify();
}

$('file').onchange = (event) => open(event.target.files[0]);
document.ondragover = (event) => event.preventDefault();
document.ondrop = (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
};
document.onpaste = (event) => open(event.clipboardData.files[0]);

$('find').oninput = find;
$('here').checked = !server;
$('here').disabled = !server;
$('here').onchange = async () => {
  say('Getting ready…', true);
  forget();
  answers = $('here').checked ? Browser.open(files) : Promise.resolve(server);
  try {
    await answers;
  } catch (error) {
    // Nothing is sent before somebody draws again, and sees that the box is empty.
    [$('here').checked, answers] = [false, Promise.resolve(server)];
    return say(error.message, true);
  }
  await refresh();
  await classify();
};
$('unlock').onsubmit = (event) => {
  event.preventDefault();
  server.unlock($('token').value.trim());
  $('token').value = '';
  change(() => {});
};

$('teach').onsubmit = (event) => {
  event.preventDefault();
  if (empty()) return say('Draw something first.', true);
  change(() => server.enroll($('label').value.trim(), canvas));
};

redraw();
refresh();
