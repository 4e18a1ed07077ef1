"use strict";
// A page that follows what happens: each event brings the parts that have changed, by the ids of their elements.
const at = (id) => document.getElementById(id);

function isInUse() {
  const focused = document.activeElement;
  return document.querySelector("main details[open]") !== null || (focused !== null && focused.matches("input, textarea"));
}

function replace(id, html) {
  const part = at(id);
  if (!part) return;
  const within = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.innerHTML = html;
  if (within && at(within)) at(within).focus();
}

function follow(place) {
  const shape = place.dataset.shape;
  const connection = at("connection");
  const source = new EventSource(place.dataset.live);
  source.addEventListener("open", () => { connection.hidden = true; });
  source.addEventListener("error", () => {
    // What was refused is not tried again; the page itself says why: as a rule, that nobody is signed in.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
    connection.textContent = "The coordinator does not answer; what you see may be old. Trying again.";
    connection.hidden = false;
  });
  source.addEventListener("ended", () => {
    source.close();
    location.assign(`/sign-in?to=${location.pathname}`);
  });
  source.addEventListener("message", (event) => {
    const parts = JSON.parse(event.data);
    for (const [id, html] of Object.entries(parts)) {
      if (id !== "shape") replace(id, html);
      else if (html !== shape && !isInUse()) location.reload();
      else at("changed").hidden = html === shape;
    }
    document.dispatchEvent(new CustomEvent("parts", { detail: parts }));
  });
}

const live = document.querySelector("[data-live]");
if (live) follow(live);
