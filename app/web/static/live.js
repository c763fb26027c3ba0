// The one connection of a live page. It is closed while nobody looks at the page and opened again afterwards. What
// happened without it is taken from the page as the server would make it now.

import { paint } from "./forms.js";

const SILENT = 8000; // milliseconds without a picture after which a tile says so
const FRESH = 3000; // milliseconds after which a page that waited for its connection may have missed something
const PATIENCE = 10_000; // milliseconds in which a page must come
const SAID = 3; // news that are read out after a gap; the others are counted
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
let late = false; // whether the page is older than the connection that comes next
let stale = false; // whether something may have happened that the page does not show
let upToDate = Promise.resolve(); // what the connection tells waits for the page to catch up

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
  addEventListener("pageshow", attend);
  attend();
}

function open(address) {
  if (source) return;
  noticeSilence();
  source = new EventSource(address);
  source.addEventListener("open", begin);
  source.addEventListener("error", lose);
  source.addEventListener("picture", (message) => show(JSON.parse(message.data)));
  source.addEventListener("access", (message) => upToDate.then(() => enter(JSON.parse(message.data))));
  source.addEventListener("camera", (message) => upToDate.then(() => restate(JSON.parse(message.data))));
  source.addEventListener("gap", miss);
  source.addEventListener("ended", () => location.reload());
  watch = setInterval(look, 2000, address);
}

function begin() {
  if (late || performance.now() > FRESH) miss();
  else pulse(true);
}

function lose() {
  late = true;
  pulse(false);
}

function look(address) {
  noticeSilence();
  if (source.readyState === EventSource.CLOSED) {
    // A proxy said that the server is away, and browsers do not ask again. Or nobody is logged in any more.
    close();
    open(address);
    miss();
  } else if (stale) catchUp();
}

function close() {
  source?.close();
  source = null;
  clearInterval(watch);
  lose();
}

function pulse(alive) {
  for (const sign of document.querySelectorAll("[data-pulse]")) sign.hidden = !alive;
}

function tileOf(camera) {
  return document.querySelector(`[data-camera="${CSS.escape(camera)}"]`);
}

// What happened without the connection

function miss() {
  pulse(false);
  catchUp();
}

function catchUp() {
  stale = true;
  upToDate = upToDate.then(renew);
}

async function renew() {
  if (!stale) return;
  stale = false; // what is missed from here on is made up for once more
  const page = await load();
  if (!page) stale = true; // until `look` tries again
  else if (shape(page) !== shape(document)) location.reload(); // other cameras, or nobody is logged in
  else put(page);
  pulse(!stale && source?.readyState === EventSource.OPEN);
}

// The page as the server would make it now; null while it cannot.
async function load() {
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE) });
    return answer.status < 500 ? parse(await answer.text()) : null;
  } catch {
    return null;
  }
}

function shape(page) {
  const parts = page.querySelectorAll("[data-live], [data-camera]");
  return [...parts].map((part) => part.dataset.live ?? part.dataset.camera).join();
}

// Only what can have changed is touched, so forms keep what was typed and elements the focus; only news are read out.
function put(page) {
  const news = [...putEntries(page), ...putStates(page)];
  putSummary(page);
  putPager(page);
  const more = news.splice(SAID).length;
  if (more) news.push(`${more} more`);
  if (news.length) say(news.join(". "));
}

function putEntries(page) {
  const [feed, fresh] = [document, page].map((root) => root.querySelector("[data-feed]"));
  if (!feed) return [];
  const present = new Map([...feed.children].map((entry) => [timeless(entry), entry]));
  const known = new Set([...feed.children].map((entry) => entry.dataset.event));
  const entries = [...fresh.children].map((entry) => present.get(timeless(entry)) ?? entry);
  const last = entries.findIndex((entry) => known.has(entry.dataset.event));
  const added = last < 0 ? entries : entries.slice(0, last);
  for (const entry of added) entry.classList.add("new");
  for (const entry of [...feed.children]) if (!entries.includes(entry)) entry.remove();
  entries.forEach((entry, place) => {
    if (feed.children[place] !== entry) feed.insertBefore(entry, feed.children[place] ?? null);
  });
  document.querySelector("[data-empty]")?.toggleAttribute("hidden", entries.length > 0);
  return added.map((entry) => entry.querySelector(".headline").textContent.trim());
}

// An entry as it is compared: "3 minutes ago" grows old by itself.
function timeless(entry) {
  const copy = entry.cloneNode(true);
  copy.classList.remove("new");
  for (const time of copy.querySelectorAll(".ago")) time.remove();
  return copy.outerHTML;
}

function putStates(page) {
  const changed = [];
  for (const tile of document.querySelectorAll("[data-camera]")) {
    const before = tile.querySelector(".state").textContent;
    const fresh = page.querySelector(`[data-camera="${CSS.escape(tile.dataset.camera)}"] .now`);
    const state = putState(tile, fresh.childNodes);
    if (state !== before) changed.push(`${tile.dataset.name}: ${state}`);
  }
  return changed;
}

function putSummary(page) {
  const [present, fresh] = [document, page].map((root) => root.querySelector("[data-summary]"));
  if (fresh) present?.replaceWith(fresh);
}

function putPager(page) {
  const [present, fresh] = [document, page].map((root) => root.querySelector(".pager"));
  if (present?.innerHTML === fresh?.innerHTML) return;
  present?.remove();
  if (fresh) document.getElementById("content").append(fresh);
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
  const state = putState(tile, parse(told.html).childNodes);
  say(`${told.name}: ${state}`);
  if (document.querySelector("[data-summary]")) catchUp(); // the server counts: "1 of 3 cameras needs you"
}

// Show what a camera does now, and return it in words.
function putState(tile, now) {
  tile.querySelector(".now").replaceChildren(...now);
  const state = tile.querySelector(".state");
  const good = state.classList.contains("good");
  if (tile.classList.contains("tile")) tile.className = state.className.replace("state", "tile");
  const why = tile.querySelector(".why");
  if (why) why.textContent = good ? "Waiting for the next picture …" : state.textContent;
  if (!good) tile.querySelector("canvas")?.setAttribute("hidden", "");
  return state.textContent;
}

function say(text) {
  document.getElementById("said").textContent = text;
}
