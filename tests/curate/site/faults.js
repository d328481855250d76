// What a page lacks for those who do not see it, or not well (WCAG 2.2: 1.1.1, 1.3.1, 1.4.3, 4.1.2).
() => {
  const faults = [];
  const light = (channel) => { const c = channel / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("option, .skip")) continue;
    const [one, two] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (contrast < 4.5) faults.push(`${contrast.toFixed(2)} contrast: ${walker.currentNode.data.trim()}`);
  }
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!field.labels.length) faults.push(`no label: ${field.outerHTML}`);
  }
  for (const image of document.querySelectorAll("img")) if (!image.alt) faults.push(`no alt: ${image.outerHTML}`);
  for (const one of document.querySelectorAll("a, button")) if (!one.textContent.trim() && !one.querySelector("img")) faults.push(`no name: ${one.outerHTML}`);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
  for (const one of document.querySelectorAll("pre")) if (one.tabIndex < 0) faults.push("what scrolls is not reached by keyboard");
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`${document.documentElement.scrollWidth} px wide`);
  return faults;
}
