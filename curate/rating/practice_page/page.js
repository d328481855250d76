// The practice page's hands: answers by key, and the image as on the rating page: the wheel zooms, the
// left button moves it, the right button changes window and level, X inverts, Z shows it as stored.
(() => {
  "use strict";
  const AS_STORED = { width: 255, center: 127.5, inverted: false, zoom: 1, x: 0, y: 0 };
  let view = { ...AS_STORED };
  const images = [...document.querySelectorAll(".pictures img")];
  const show = () => {
    const sign = view.inverted ? -1 : 1;
    const slope = (sign * 255) / view.width;
    const intercept = (view.inverted ? 1 : 0) - (sign * (view.center - view.width / 2)) / view.width;
    for (const part of document.querySelectorAll("#window [type=linear]")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", intercept);
    }
    for (const image of images) image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    const said = document.getElementById("levels");
    const [low, high] = [view.center - view.width / 2, view.center + view.width / 2].map(Math.round);
    if (said) said.textContent = `grey ${low} to ${high}${view.inverted ? ", inverted" : ""}`;
  };
  const set = (change) => { view = { ...view, ...change }; show(); };
  const invert = () => set({ inverted: !view.inverted });
  const reset = () => set(AS_STORED);
  if (images.length) {
    show();
    document.getElementById("invert").addEventListener("click", invert);
    document.getElementById("reset").addEventListener("click", reset);
  }
  const on = (event) => event.target.closest && event.target.closest(".pictures");
  let from = null;
  addEventListener("contextmenu", (event) => on(event) && event.preventDefault());
  addEventListener("wheel", (event) => {
    if (!on(event) || event.ctrlKey) return;
    event.preventDefault();
    set({ zoom: Math.min(16, Math.max(1, view.zoom * 2 ** (-event.deltaY / 300))) });
  }, { passive: false });
  addEventListener("pointerdown", (event) => { if (on(event)) from = { x: event.clientX, y: event.clientY, button: event.button, view }; });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    if (from.button === 2) set({ width: Math.min(510, Math.max(2, from.view.width * 2 ** (dx / 150))), center: Math.min(255, Math.max(0, from.view.center + dy / 2)) });
    else set({ x: from.view.x + dx, y: from.view.y + dy });
  });
  addEventListener("pointerup", () => { from = null; });
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const form = document.querySelector("form");
      const next = document.querySelector("a.next");
      if (form) form.requestSubmit();
      else if (next) next.click();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const answer = key.length === 1 && /[a-z1-9]/.test(key) && document.querySelector(`input[data-key="${key}"]`);
    if (answer) { answer.checked = true; answer.focus(); return; }
    if (images.length && key === "x") invert();
    if (images.length && key === "z") reset();
  });
})();
