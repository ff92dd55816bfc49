// Copy, print, and one click for two. Every page works without this file: the buttons stay hidden then.
"use strict";

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const said = document.getElementById(button.dataset.copy + "-copied");
  const items = [...source.querySelectorAll("li")];
  const text = items.length ? items.map((one) => one.textContent.trim()).join("\n") : source.textContent.trim();
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    said.textContent = "Selected: press Ctrl+C";
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
for (const form of document.forms) {
  let sentAt = -Infinity;
  form.addEventListener("submit", (event) => {
    if (event.timeStamp - sentAt < 3000) event.preventDefault();
    else sentAt = event.timeStamp;
  });
}
