// The one connection of a live page. It is closed while nobody looks at the page and opened again afterwards.

import { paint } from "./forms.js";

const SILENT = 8000; // milliseconds without a picture after which a tile says so
const LOUD = { granted: "#58d68d", denied: "#ff8a7a", unknown: "#ffc857", undecided: "#c3ced1" };
const QUIET = "#e8eeee";
const WHY = {
  warming_up: "Learning what is usual here",
  motion: "Something moves",
  followed: "Somebody is followed",
  broken: "Cannot be compared",
  off: "There is no gate: everything is computed",
};

let source = null;
let watch = 0;

export function followLive() {
  const place = document.querySelector("[data-live]");
  if (!place) return;
  const motion = document.getElementById("motion");
  if (motion) {
    motion.checked = localStorage.getItem("motion") === "yes";
    motion.addEventListener("change", () => localStorage.setItem("motion", motion.checked ? "yes" : "no"));
  }
  const attend = () => (document.hidden ? close() : open(place.dataset.live));
  document.addEventListener("visibilitychange", attend);
  addEventListener("pagehide", close);
  attend();
}

function open(address) {
  if (source) return;
  source = new EventSource(address);
  source.addEventListener("open", () => pulse(true));
  source.addEventListener("error", () => pulse(false));
  source.addEventListener("picture", (message) => show(JSON.parse(message.data)));
  source.addEventListener("access", (message) => enter(JSON.parse(message.data)));
  source.addEventListener("camera", (message) => restate(JSON.parse(message.data)));
  source.addEventListener("gap", () => location.reload());
  source.addEventListener("ended", () => location.reload());
  watch = setInterval(noticeSilence, 2000);
}

function close() {
  source?.close();
  source = null;
  clearInterval(watch);
  pulse(false);
}

function pulse(alive) {
  for (const sign of document.querySelectorAll("[data-pulse]")) sign.hidden = !alive;
}

function tileOf(camera) {
  return document.querySelector(`[data-camera="${CSS.escape(camera)}"]`);
}

// Pictures

async function show(told) {
  const tile = tileOf(told.camera);
  const canvas = tile?.querySelector("canvas");
  if (!canvas || tile.dataset.busy) return;
  tile.dataset.busy = "yes";
  await paint(canvas, told.jpeg);
  annotate(canvas, told);
  canvas.hidden = false;
  tile.dataset.shown = Date.now();
  delete tile.dataset.busy;
}

function annotate(canvas, told) {
  const brush = canvas.getContext("2d");
  if (document.getElementById("motion")?.checked) drawMotion(brush, told);
  drawZones(brush, told.zones ?? []);
  for (const face of told.faces) drawBox(brush, face.box, QUIET, 1);
  for (const person of told.persons) {
    const colour = LOUD[person.state] ?? QUIET;
    drawBox(brush, person.box, colour, 2);
    if (person.name) drawName(brush, person.box, person.name, colour);
  }
}

function drawMotion(brush, { motion, why, strength }) {
  if (!motion) return;
  const { width, height } = brush.canvas;
  const [wide, high] = [width / motion.columns, height / motion.rows];
  brush.fillStyle = "#ffc85766";
  for (const cell of motion.active) {
    brush.fillRect((cell % motion.columns) * wide, Math.floor(cell / motion.columns) * high, wide + 0.5, high + 0.5);
  }
  const reason = why === "motion" ? `${WHY.motion}: ${strength.toFixed(1)} times what it takes` : WHY[why];
  drawName(brush, [0, 1], reason ?? "Still: the rest is not computed", QUIET);
}

function drawZones(brush, zones) {
  const { width, height } = brush.canvas;
  brush.strokeStyle = "#62d2c6";
  brush.lineWidth = width / 320;
  for (const polygon of zones) {
    brush.beginPath();
    for (const [x, y] of polygon) brush.lineTo(x * width, y * height);
    brush.closePath();
    brush.stroke();
  }
}

function drawBox(brush, [left, top, right, bottom], colour, weight) {
  const { width, height } = brush.canvas;
  brush.lineWidth = (weight * width) / 320;
  brush.strokeStyle = colour;
  brush.beginPath();
  brush.roundRect(left * width, top * height, (right - left) * width, (bottom - top) * height, width / 80);
  brush.stroke();
}

function drawName(brush, [left, top], name, colour) {
  const { width, height } = brush.canvas;
  const size = Math.max(width / 28, 11);
  brush.font = `600 ${size}px system-ui, sans-serif`;
  const wide = brush.measureText(name).width + size * 0.8;
  const [x, y] = [Math.min(left * width, Math.max(width - wide, 0)), Math.max(top * height - size * 1.5, 0)];
  brush.fillStyle = colour;
  brush.beginPath();
  brush.roundRect(x, y, wide, size * 1.4, size / 3);
  brush.fill();
  brush.fillStyle = "#0c1113";
  brush.fillText(name, x + size * 0.4, y + size * 1.05);
}

// A picture that stands still must not look like a live one.
function noticeSilence() {
  for (const tile of document.querySelectorAll("[data-shown]")) {
    if (Date.now() - tile.dataset.shown < SILENT) continue;
    tile.querySelector("canvas").hidden = true;
    tile.querySelector(".why").textContent =
      tile.querySelector(".state").dataset.state === "online"
        ? "No picture for some seconds. It comes back by itself."
        : tile.querySelector(".state").textContent;
  }
}

// Events and states. The markup comes from the server, from the same templates as the page's own.

function parse(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
}

function enter(told) {
  const feed = document.querySelector("[data-feed]");
  if (!feed || feed.querySelector(`[data-event="${CSS.escape(told.id)}"]`)) return;
  const entry = parse(told.html).firstElementChild;
  entry.classList.add("new");
  feed.prepend(entry);
  while (feed.childElementCount > Number(feed.dataset.most)) feed.lastElementChild.remove();
  document.querySelector("[data-empty]")?.setAttribute("hidden", "");
  say(told.headline);
}

function restate(told) {
  const tile = tileOf(told.camera);
  if (!tile) return;
  tile.querySelector(".now").replaceChildren(parse(told.html));
  if (tile.classList.contains("tile")) tile.className = `tile ${told.mood}`;
  const state = tile.querySelector(".state").textContent;
  const why = tile.querySelector(".why");
  if (why) why.textContent = told.mood === "good" ? "Waiting for the next picture …" : state;
  if (told.mood !== "good") tile.querySelector("canvas")?.setAttribute("hidden", "");
  say(`${told.name}: ${state}`);
  renewSummary();
}

// "1 of 3 cameras needs you" is counted by the server; the page is asked for it once more.
async function renewSummary() {
  const present = document.querySelector("[data-summary]");
  if (!present) return;
  try {
    const answer = await fetch(location.href);
    const renewed = parse(await answer.text()).querySelector("[data-summary]");
    if (renewed) present.replaceWith(renewed);
  } catch {
    // the server is away: the connection comes back by itself, and with it the next state
  }
}

function say(text) {
  document.getElementById("said").textContent = text;
}
