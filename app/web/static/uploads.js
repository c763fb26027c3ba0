// A photo is judged as soon as it is chosen, before anybody is enrolled by it.

const MOST = 10_000_000; // bytes, as the server's limit

export function followUploads() {
  for (const form of document.querySelectorAll("form[data-check]")) {
    const input = form.querySelector("input[type=file]");
    input.addEventListener("change", () => input.files.length && judge(form, input.files[0]));
    form.addEventListener("dragover", (event) => { event.preventDefault(); form.classList.add("over"); });
    form.addEventListener("dragleave", () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      input.files = event.dataTransfer.files;
      judge(form, input.files[0]);
    });
  }
}

async function judge(form, file) {
  const place = form.querySelector(".preview");
  const words = place.querySelector("p");
  const button = form.querySelector("button");
  place.hidden = false;
  button.disabled = true;
  words.className = "";
  words.textContent = "Looking at the photo …";
  const told = file.size > MOST
    ? { usable: false, words: ["The photo has more than 10 MB. Scale it down: 2 megapixels are plenty."], box: null }
    : await ask(form, file);
  words.className = told.usable ? "summary" : "error";
  words.textContent = told.usable ? "This photo is good. Enrol it below." : told.words.join(" ");
  button.disabled = !told.usable && !told.unsure;
  await preview(place.querySelector("canvas"), file, told.box);
}

async function ask(form, file) {
  const body = new FormData();
  body.append("csrf", form.elements.csrf.value);
  body.append("photo", file);
  try {
    const answer = await fetch(form.dataset.check, { method: "POST", body });
    return await answer.json();
  } catch { // no answer, or a page that says why there is none
    return { usable: false, unsure: true, words: ["It could not be looked at now. You may enrol it all the same."], box: null };
  }
}

async function preview(canvas, file, box) {
  try {
    const picture = await createImageBitmap(file);
    const brush = canvas.getContext("2d");
    const size = Math.min(picture.width, picture.height);
    let [left, top] = [(picture.width - size) / 2, (picture.height - size) / 2];
    let side = size;
    if (box) {
      side = Math.min(size, Math.max(box[2] - box[0], box[3] - box[1]) * Math.max(picture.width, picture.height) * 1.6);
      left = Math.max(0, Math.min(picture.width - side, ((box[0] + box[2]) / 2) * picture.width - side / 2));
      top = Math.max(0, Math.min(picture.height - side, ((box[1] + box[3]) / 2) * picture.height - side / 2));
    }
    canvas.hidden = false;
    brush.drawImage(picture, left, top, side, side, 0, 0, canvas.width, canvas.height);
  } catch {
    canvas.hidden = true; // not a picture at all; the words say so
  }
}
