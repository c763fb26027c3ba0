// Areas are drawn by tapping their corners on the still; the numbers stay in the text field, where they can be typed too.

export async function followZones() {
  const area = document.querySelector("[data-zones]");
  if (!area) return;
  const canvas = area.querySelector("canvas");
  const text = document.getElementById("zones");
  const actions = document.querySelector("[data-zones-actions]");
  const picture = await still(area.dataset.zones);
  if (!picture) return;
  canvas.width = picture.width;
  canvas.height = picture.height;
  area.hidden = actions.hidden = false;
  let open = []; // corners of the area that is not closed yet

  const redraw = () => {
    canvas.getContext("2d").drawImage(picture, 0, 0);
    for (const polygon of read(text.value)) draw(canvas, polygon, true);
    draw(canvas, open, false);
  };
  const close = () => {
    if (open.length >= 3) text.value = [text.value.trim(), write(open)].filter(Boolean).join("\n");
    open = [];
    redraw();
  };
  canvas.addEventListener("click", (event) => {
    const frame = canvas.getBoundingClientRect();
    open.push([(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]);
    redraw();
  });
  actions.querySelector("[data-close]").addEventListener("click", close);
  actions.querySelector("[data-undo]").addEventListener("click", () => {
    if (!open.pop()) text.value = text.value.trim().split("\n").slice(0, -1).join("\n");
    redraw();
  });
  text.form.addEventListener("submit", close);
  text.addEventListener("input", redraw);
  redraw();
}

async function still(address) {
  try {
    const answer = await fetch(address);
    return answer.status === 200 ? await createImageBitmap(await answer.blob()) : null;
  } catch {
    return null; // without a picture there are the numbers
  }
}

function read(text) {
  const polygons = text.split("\n").map((line) => line.trim().split(/\s+/).map((corner) => corner.split(",").map((part) => Number(part) / 100)));
  return polygons.filter((polygon) => polygon.every(([x, y]) => Number.isFinite(x) && Number.isFinite(y)));
}

function write(polygon) {
  return polygon.map(([x, y]) => `${(x * 100).toFixed(1)},${(y * 100).toFixed(1)}`).join(" ");
}

function draw(canvas, polygon, closed) {
  if (!polygon.length) return;
  const brush = canvas.getContext("2d");
  brush.strokeStyle = "#62d2c6";
  brush.fillStyle = "#62d2c655";
  brush.lineWidth = canvas.width / 240;
  brush.beginPath();
  for (const [x, y] of polygon) brush.lineTo(x * canvas.width, y * canvas.height);
  if (closed) {
    brush.closePath();
    brush.fill();
  }
  brush.stroke();
  for (const [x, y] of polygon) {
    brush.beginPath();
    brush.arc(x * canvas.width, y * canvas.height, canvas.width / 110, 0, 7);
    brush.fillStyle = "#62d2c6";
    brush.fill();
    brush.fillStyle = "#62d2c655";
  }
}
