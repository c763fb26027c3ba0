// The entry of every page. Everything here makes a page more pleasant; forms and links work without it.

import { followForms } from "./forms.js";
import { followLive } from "./live.js";
import { keepTimes } from "./times.js";
import { followUploads } from "./uploads.js";
import { followZones } from "./zones.js";

document.documentElement.classList.add("scripted");

// The server writes times in this zone; a page that was made for another one is loaded once more.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
if (!document.cookie.split("; ").includes(`zone=${zone}`)) {
  document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax`;
}

keepTimes();
followForms();
followLive();
followUploads();
followZones();
