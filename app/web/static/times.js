// "3 minutes ago" grows old: every time on the page is said anew.

const SPANS = [["second", 1], ["minute", 60], ["hour", 3600], ["day", 86400], ["month", 2629746], ["year", 31556952]];

export function ago(moment, now = Date.now()) {
  const seconds = (now - moment) / 1000;
  const length = Math.abs(seconds);
  if (length < 5) return "just now";
  const [unit, size] = SPANS.findLast((span) => span[1] <= length);
  const count = Math.floor(length / size);
  const told = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return seconds > 0 ? `${told} ago` : `in ${told}`;
}

function refresh() {
  for (const place of document.querySelectorAll("time[datetime] .ago")) {
    const told = ago(Date.parse(place.parentElement.dateTime));
    if (place.textContent !== told) place.textContent = told;
  }
}

export function keepTimes() {
  refresh();
  setInterval(refresh, 10_000);
}
