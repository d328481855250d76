"use strict";
// The viewer: zoom and pan, window and level by dragging, invert, slices; and buttons that copy.
// Without this script each page still shows its picture, and every link and form works.

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  navigator.clipboard.writeText(button.dataset.copy).then(() => { button.textContent = "Copied"; });
});

class Viewer {
  constructor(place) {
    this.place = place;
    this.file = place.dataset.file;
    this.zoom = 1; this.left = 0; this.top = 0; this.inverted = false; this.slice = null;
    this.load();
  }

  async load() {
    const where = this.slice === null ? "" : `?slice=${this.slice}`;
    const answer = await fetch(`/files/${this.file}/pixels${where}`);
    if (!answer.ok) return;
    this.sample = JSON.parse(answer.headers.get("X-Sample"));
    this.values = new Float32Array(await answer.arrayBuffer());
    if (this.slice === null) {
      this.slice = Math.floor(this.sample.depth / 2);
      this.reset();
      this.build();
    }
    this.draw();
  }

  reset() {
    [this.low, this.high] = this.sample.window;
    this.centre = (this.low + this.high) / 2;
    this.width = this.high - this.low;
    this.zoom = 1; this.left = 0; this.top = 0; this.inverted = false;
  }

  build() {
    const [, height, width] = this.sample.shape;
    this.canvas = document.createElement("canvas");
    this.canvas.width = width; this.canvas.height = height; this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", this.place.querySelector("img").alt +
      ". Drag for window and level, wheel to zoom; keys: plus, minus, arrows, i to invert, 0 to reset, page up and down for slices.");
    this.place.querySelector("img").replaceWith(this.canvas);
    const tools = document.createElement("div");
    tools.className = "tools";
    const acts = { "Zoom in": "+", "Zoom out": "-", "Invert": "i", "Reset": "0" };
    for (const [label, key] of Object.entries(acts)) {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = label;
      button.addEventListener("click", () => this.press(key));
      tools.append(button);
    }
    this.output = document.createElement("output");
    tools.append(this.output);
    this.place.after(tools);
    this.canvas.addEventListener("keydown", (event) => { if (this.press(event.key)) event.preventDefault(); });
    this.canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.press(event.deltaY < 0 ? "+" : "-"); }, { passive: false });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const span = this.high - this.low;
      if (event.buttons === 2 || event.shiftKey) {
        this.left += event.movementX / this.canvas.clientWidth; this.top += event.movementY / this.canvas.clientHeight;
      } else {
        this.width = Math.max(this.width + event.movementX * span / 300, span / 1000); this.centre += event.movementY * span / 300;
      }
      this.draw();
    });
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  press(key) {
    const step = 0.1 / this.zoom;
    if (key === "+" || key === "=") this.zoom = Math.min(this.zoom * 1.25, 32);
    else if (key === "-") this.zoom = Math.max(this.zoom / 1.25, 1);
    else if (key === "i") this.inverted = !this.inverted;
    else if (key === "0") this.reset();
    else if (key === "ArrowLeft") this.left += step; else if (key === "ArrowRight") this.left -= step;
    else if (key === "ArrowUp") this.top += step; else if (key === "ArrowDown") this.top -= step;
    else if (key === "PageUp" || key === "PageDown") {
      this.slice = Math.min(Math.max(this.slice + (key === "PageUp" ? 1 : -1), 0), this.sample.depth - 1);
      this.load(); return true;
    } else return false;
    this.draw(); return true;
  }

  draw() {
    const [channels, height, width] = this.sample.shape, plane = height * width;
    const picture = new ImageData(width, height), low = this.centre - this.width / 2;
    for (let at = 0; at < plane; at += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        const value = this.values[(channels === 3 ? channel * plane : 0) + at];
        const level = 255 * (value - low) / this.width;
        picture.data[4 * at + channel] = this.inverted ? 255 - level : level;
      }
      picture.data[4 * at + 3] = 255;
    }
    const whole = new OffscreenCanvas(width, height);
    whole.getContext("2d").putImageData(picture, 0, 0);
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.fillStyle = "#000"; context.fillRect(0, 0, width, height);
    const w = width * this.zoom, h = height * this.zoom;
    context.drawImage(whole, (width - w) / 2 + this.left * width, (height - h) / 2 + this.top * height, w, h);
    const slice = this.sample.depth > 1 ? `, slice ${this.slice + 1} of ${this.sample.depth}` : "";
    this.output.textContent = `window ${this.width.toPrecision(3)}, level ${this.centre.toPrecision(3)}, zoom ${this.zoom.toFixed(2)}${slice}`;
  }
}

for (const place of document.querySelectorAll(".viewer[data-file]")) new Viewer(place);
