// The pages work without this script. It adds a copy button beside each text, and sends each form only once.
"use strict";
for (const area of document.querySelectorAll("[data-copy]")) {
  area.addEventListener("focus", () => area.select());
  if (!navigator.clipboard) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = "Copy";
  button.setAttribute("aria-describedby", area.id);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(area.value);
      button.textContent = "Copied";
    } catch {
      area.select();
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  area.after(button);
}
for (const form of document.querySelectorAll('form[action="/buy"]')) {
  const button = form.querySelector("button");
  if (!button) continue;
  form.addEventListener("submit", () => { button.disabled = true; });
  // The back button restores the page in its last state.
  addEventListener("pageshow", () => { button.disabled = false; });
}
