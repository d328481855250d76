// What curate's door adds to Label Studio's rating page: dark from the first frame on, pixels as
// they are, zoom by the wheel, window and level by the right button, invert, and how far one is.
(() => {
  "use strict";
  const project = (location.pathname.match(/^\/projects\/(\d+)\/data/) || [])[1];
  localStorage.setItem("preferred-color-scheme", "Dark");
  document.documentElement.setAttribute("data-color-scheme", "dark");
  if (!project) return;

  // an enlarged pixel stays a square; an image that is made smaller is still smoothed
  const draw = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (image, ...place) {
    const wide = place.length > 4 ? place[6] : place[2] || image.width;
    const from = place.length > 4 ? place[2] : image.naturalWidth || image.width;
    this.imageSmoothingEnabled = Math.abs(wide * this.getTransform().a) < from;
    return draw.call(this, image, ...place);
  };

  // Grey levels 0 to 255 of the picture, as a linear map: what lies in the window fills the screen.
  const AS_STORED = { width: 255, center: 127.5, inverted: false };
  let view = { ...AS_STORED };
  const made = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    Object.assign(node, attributes);
    node.append(...children);
    return node;
  };
  const show = () => {
    const sign = view.inverted ? -1 : 1;
    const slope = (sign * 255) / view.width;
    const intercept = (view.inverted ? 1 : 0) - (sign * (view.center - view.width / 2)) / view.width;
    for (const part of document.querySelectorAll("#curate-window [type=linear]")) {
      part.setAttribute("slope", slope);
      part.setAttribute("intercept", intercept);
    }
    const low = Math.round(view.center - view.width / 2);
    const high = Math.round(view.center + view.width / 2);
    const said = document.getElementById("curate-levels");
    if (said) said.textContent = `grey ${low} to ${high}${view.inverted ? ", inverted" : ""}`;
  };
  const set = (change) => {
    view = { ...view, ...change };
    show();
  };
  const invert = () => set({ inverted: !view.inverted });
  const reset = () => set(AS_STORED);

  const progress = async () => {
    const answer = await fetch(`/api/projects/${project}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const found = await answer.json();
    const done = found.total_annotations_number + found.skipped_annotations_number;
    document.getElementById("curate-title").textContent = found.title.replace(/ \([0-9a-f]{12}\)$/, "");
    document.getElementById("curate-progress").textContent = `${done} of ${found.task_number} read`;
    document.getElementById("curate-instructions").textContent = found.expert_instruction;
  };

  const bar = () => {
    const help = made("dialog", { id: "curate-help" });
    help.append(
      made("p", { id: "curate-instructions" }),
      made("p", { textContent: "Wheel: zoom. Left button: move. Right button: window and level (across: contrast, up and down: brightness). X: invert. Z: grey levels as they were." }),
      made("p", { textContent: "Keys in brackets answer; Ctrl+Enter sends the answer and brings the next image." }),
      made("button", { textContent: "Close", onclick: () => help.close() }),
    );
    const buttons = [
      made("span", { id: "curate-levels" }),
      made("button", { id: "curate-invert", textContent: "Invert [x]", onclick: invert }),
      made("button", { id: "curate-reset", textContent: "Reset grey levels [z]", onclick: reset }),
      made("button", { id: "curate-show-help", textContent: "Instructions", onclick: () => help.showModal() }),
      made("a", { href: "/", textContent: "All readings" }),
    ];
    const top = made("header", { id: "curate-bar" });
    top.append(made("b", { id: "curate-title" }), made("span", { id: "curate-progress" }), made("i"), ...buttons);
    const filter = made("div");
    filter.innerHTML =
      '<svg width="0" height="0" style="position:absolute"><filter id="curate-window" ' +
      'color-interpolation-filters="sRGB"><feComponentTransfer>' +
      "RGB".split("").map((c) => `<feFunc${c} type="linear" slope="1" intercept="0"/>`).join("") +
      "</feComponentTransfer></filter></svg>";
    document.body.append(top, help, filter);
    show();
    progress();
  };

  const picture = (event) => event.target.closest && event.target.closest(".konvajs-content");
  const mouse = () => {
    let from = null;
    addEventListener("contextmenu", (event) => picture(event) && event.preventDefault(), true);
    addEventListener("wheel", (event) => {
      if (!picture(event) || event.ctrlKey) return;
      event.preventDefault();
      event.stopPropagation();
      const told = { bubbles: true, cancelable: true, ctrlKey: true, deltaY: event.deltaY };
      event.target.dispatchEvent(new WheelEvent("wheel", { ...told, clientX: event.clientX, clientY: event.clientY }));
    }, { capture: true, passive: false });
    addEventListener("pointerdown", (event) => {
      if (event.button !== 2 || !picture(event)) return;
      event.stopPropagation();
      from = { x: event.clientX, y: event.clientY, ...view };
    }, true);
    addEventListener("mousedown", (event) => from && event.stopPropagation(), true);
    addEventListener("pointermove", (event) => {
      if (!from) return;
      event.stopPropagation();
      const width = Math.min(510, Math.max(2, from.width * 2 ** ((event.clientX - from.x) / 150)));
      const center = Math.min(255, Math.max(0, from.center + (event.clientY - from.y) / 2));
      set({ width, center });
    }, true);
    addEventListener("pointerup", () => (from = null), true);
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "radio" && event.target.type !== "checkbox") return;
      const act = { x: invert, z: reset }[event.key.toLowerCase()];
      if (!act) return;
      event.stopPropagation();
      act();
    }, true);
  };

  addEventListener("DOMContentLoaded", () => {
    bar();
    mouse();
    let shown = "";
    new MutationObserver(() => {
      const id = document.querySelector(".lsf-current-task__task-id");
      const now = id ? id.textContent : "none";
      if (now === shown) return;
      shown = now;
      reset(); // each image begins as it is stored
      progress();
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
})();
