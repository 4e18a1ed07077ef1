"use strict";
// The key stands behind the # of the link; from here on it is this tab's alone.
const given = location.hash.slice(1);
if (given) {
  sessionStorage.setItem("key", given);
  history.replaceState(null, "", "/");
}
const key = sessionStorage.getItem("key") || "";
const EVERY_MS = 2000;
const SURE_MS = 6000;
const at = (id) => document.getElementById(id);
const write = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };
const GOOD = ["working", "waiting"];
const WARN = ["stopped", "paused", "out of touch", "not joined"];

async function call(path, method, content) {
  const body = content && JSON.stringify(content);
  const answer = await fetch(path, { method, body, cache: "no-store", headers: { Authorization: `Bearer ${key}` } });
  const told = await answer.json();
  if (!answer.ok) {
    const failure = new Error(told.error);
    failure.hint = told.hint || "";
    failure.status = answer.status;
    failure.wrong = told.wrong;
    throw failure;
  }
  return told;
}

function ago(now, then) {
  if (then === null) return "never";
  const seconds = Math.max(0, Math.round(now - then));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return new Date(then * 1000).toLocaleString();
}

function show(status) {
  at("ended").hidden = true;
  at("live").hidden = false;
  write("site", status.site_name || "mammofed");
  write("federation", status.coordinator_name ? `in the federation “${status.coordinator_name}”` : "has not joined");
  write("state", status.state);
  at("state").className = `badge ${GOOD.includes(status.state) ? "good" : WARN.includes(status.state) ? "warn" : ""}`;
  const work = status.work;
  write("work", work === null ? "Nothing to compute at the moment."
    : `${work.run_id}, round ${work.round_number}: ${work.phase}` +
      (work.num_steps ? `, step ${work.step} of ${work.num_steps}` : ""));
  at("troubles").replaceChildren(...status.troubles.map((trouble) => {
    const line = document.createElement("li");
    line.textContent = trouble;
    return line;
  }));
  const paused = status.state === "paused";
  at("stop").hidden = paused;
  at("resume").hidden = !paused;
  write("contact", ago(status.at, status.last_contact_at));
  write("plans", `${status.waiting_plans} wait for a decision, ${status.approved_plans} approved`);
  write("ledger", status.ledger.messages === 0 ? "nothing yet" : `${status.ledger.messages} messages, ${(status.ledger.size_bytes / 1e6).toFixed(1)} MB; the last ` +
    ago(status.at, status.ledger.last_at));
  write("certificate", status.certificate_ends_at === null ? "none"
    : `${Math.floor((status.certificate_ends_at - status.at) / 86400)} more days; it renews itself`);
  write("gpu", status.gpus.map((gpu) =>
    `${gpu.name}: ${gpu.used_mib ?? "?"} of ${gpu.total_mib ?? "?"} MiB, ${gpu.busy_percent ?? "?"} % busy`
  ).join("\n") || "none that NVIDIA's driver tells of");
  const gib = (bytes) => (bytes / 2 ** 30).toFixed(1);
  write("disk", `${gib(status.disk_free_bytes)} of ${gib(status.disk_total_bytes)} GiB free`);
  at("disk-meter").value = 1 - status.disk_free_bytes / status.disk_total_bytes;
  const clinic = status.clinic;
  at("clinic-row").hidden = clinic === null;
  if (clinic !== null)
    write("node", (clinic.is_running ? "runs" : "does not run") + (clinic.waiting_since === null ? ", nothing waits"
      : `; ${clinic.num_images} images wait to be measured, ${clinic.num_objects} objects for the archive, the first came ${ago(status.at, clinic.waiting_since)}`));
  write("version", `Version ${status.software_version}.`);
}

function showEnd(what, hint) {
  at("live").hidden = true;
  at("ended").hidden = false;
  write("ended-what", what);
  write("ended-hint", hint);
}

async function follow() {
  for (;;) {
    try {
      show(await call("/state", "GET"));
    } catch (failure) {
      if (failure.status === 401) {
        sessionStorage.removeItem("key");
        at("clinical-form").reset();
        showEnd(failure.message, failure.hint);
        return;
      }
      showEnd(failure.status ? failure.message : "The site does not answer.",
        failure.status ? failure.hint : "It may have been stopped. When it runs again, make a new link with mammofed-site page.");
    }
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

async function act(path, done) {
  for (const each of [at("stop"), at("resume")]) each.disabled = true;
  try {
    const answer = await call(path, "POST");
    write("told", answer.note || done);
    show(await call("/state", "GET"));
  } catch (failure) {
    write("told", `${failure.message} ${failure.hint || ""}`);
  } finally {
    for (const each of [at("stop"), at("resume")]) each.disabled = false;
  }
}

let unsure;
function calm() {
  clearTimeout(unsure);
  at("stop").classList.remove("sure");
  write("stop", "Stop taking part");
}

at("stop").addEventListener("click", () => {
  if (at("stop").classList.contains("sure")) {
    calm();
    act("/pause", "Stopped. Training ends within a step; the federation goes on without this site.");
    return;
  }
  at("stop").classList.add("sure");
  write("stop", "Really stop?");
  unsure = setTimeout(calm, SURE_MS);
});
at("resume").addEventListener("click", () => act("/resume", "This site takes part again, from the next round on."));

async function offerForm() {
  at("clinical").hidden = !(await call("/clinical", "GET")).is_open;
}

function mark(form, wrong) {
  for (const field of form.querySelectorAll("input, select")) {
    write(`${field.id}-wrong`, wrong[field.name] || "");
    field.setAttribute("aria-invalid", field.name in wrong);
  }
  form.querySelector("[aria-invalid=true]")?.focus();
}

at("clinical-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, keep = form.querySelector("button");
  keep.disabled = true;
  try {
    const answer = await call("/clinical", "POST", Object.fromEntries(new FormData(form)));
    mark(form, {});
    form.reset();
    write("clinical-told", answer.note);
  } catch (failure) {
    mark(form, failure.wrong || {});
    write("clinical-told", failure.wrong ? "Nothing was taken: see what is marked." : `${failure.message} ${failure.hint || ""}`);
  } finally {
    keep.disabled = false;
  }
});

if (key) {
  follow();
  offerForm().catch(() => {}); // without it the page is as good
} else showEnd("This page opens by a link.", "Make one with mammofed-site page, at this computer.");
