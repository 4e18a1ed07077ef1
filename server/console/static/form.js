"use strict";
// Has the server check a form while it is filled in; what is wrong is said beside each field that was touched.
const form = document.querySelector("form[data-check]");
const touched = new Set();
let waiting;
let asked = 0;

function tell(faults) {
  for (const field of form.querySelectorAll("[data-setting]")) {
    const name = field.dataset.setting;
    const fault = touched.has(name) ? faults[name] ?? "" : "";
    const place = field.querySelector(".fault");
    if (place.textContent !== fault) place.textContent = fault;
    field.classList.toggle("wrong", fault !== "");
    field.querySelector("input, select")?.setAttribute("aria-invalid", String(fault !== ""));
  }
  const whole = document.getElementById("whole-fault");
  whole.textContent = faults[""] ?? "";
  whole.hidden = !faults[""];
}

async function check() {
  const number = ++asked;
  const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (number !== asked || !answer.ok) return;
  const { faults, cost } = await answer.json();
  tell(faults);
  document.getElementById("cost").innerHTML = cost;
}

form.addEventListener("input", (event) => {
  const field = event.target.closest("[data-setting]");
  if (field) touched.add(field.dataset.setting);
  clearTimeout(waiting);
  waiting = setTimeout(check, 300);
});
