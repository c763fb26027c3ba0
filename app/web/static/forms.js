// Small helps for forms: ask before what cannot be undone, choose without a button, copy, try a camera in place.

export function followForms() {
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
    else if (event.submitter?.matches("[data-checks]")) checkSource(event);
  });
  for (const choice of document.querySelectorAll("select[data-submit]")) {
    choice.addEventListener("change", () => choice.form.requestSubmit());
  }
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    });
  }
  paintStill();
}

// The answer is the same page as without a script; of it only the result is taken, so nothing typed is lost.
async function checkSource(event) {
  event.preventDefault();
  const place = document.getElementById("told");
  const button = event.submitter;
  button.disabled = true;
  place.textContent = "Trying. This takes up to 20 seconds.";
  try {
    const answer = await fetch(button.formAction, {
      method: "POST", body: new URLSearchParams(new FormData(event.target)),
    });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const told = page.getElementById("told");
    const wrong = page.querySelector(".error, .notice.bad p, main h1 + p");
    if (told?.childElementCount) place.replaceChildren(...told.childNodes);
    else place.textContent = wrong ? wrong.textContent : "That did not work. Load the page again.";
    paintStill();
  } catch {
    place.textContent = "Cardea does not answer. Try again in a moment.";
  }
  button.disabled = false;
}

async function paintStill() {
  const canvas = document.querySelector("canvas[data-jpeg]");
  if (canvas) await paint(canvas, canvas.dataset.jpeg);
}

// Draw a JPEG (base64) on a canvas that takes its size. The content policy allows no data: pictures.
export async function paint(canvas, jpeg) {
  const bytes = Uint8Array.from(atob(jpeg), (letter) => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
}
