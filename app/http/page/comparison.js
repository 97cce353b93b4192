// The same photo in every style, painted one after the other.

import { isAbort, patiently, post } from "./api.js";
import { dom, element, showBlob } from "./dom.js";
import * as notice from "./notice.js";

const SIDE = 448; // pixels

let controller = null;

export function stop() {
  controller?.abort();
}

/** Paint `photo` in all `styles`. options(style): the options for one style; pick(id): on a click. */
export async function compare(photo, styles, options, pick, ask) {
  stop();
  controller = new AbortController();
  const { signal } = controller;
  const cells = styles.map((style) => {
    const image = element("img", { alt: "", draggable: false });
    const button = element("button", { type: "button", className: "style waiting" }, image,
      element("span", { className: "style-title", textContent: style.title }),
      element("span", { className: "style-by", textContent: style.artist === "unknown" ? "" : style.artist }));
    if (photo.width) image.style.aspectRatio = `${photo.width} / ${photo.height}`;
    button.addEventListener("click", () => pick(style.id));
    return { style, image, button };
  });
  dom.comparison.replaceChildren(...cells.map(({ button }) => element("li", {}, button)));
  const started = performance.now();
  const onWait = (problem, seconds) => notice.showWaiting(problem, seconds, stop);
  try {
    const image = await photo.copy(SIDE);
    for (const [index, cell] of cells.entries()) {
      dom.compareStatus.textContent = `Painting ${index + 1} of ${cells.length}`;
      const wanted = options(cell.style);
      const fields = { image, ...wanted, size: Math.min(wanted.size, SIDE), format: "jpeg" };
      const result = await patiently(() => post("/stylize", fields, { signal }), { signal, onWait });
      notice.hide();
      await showBlob(cell.image, result.blob);
      cell.button.classList.remove("waiting");
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    dom.compareStatus.textContent = `${cells.length} paintings in ${seconds} s. Choose one to go on with it.`;
  } catch (error) {
    if (!isAbort(error)) ask(error);
  }
}
