// The grid of styles.

import { element } from "./dom.js";

const byline = (style) => [style.artist === "unknown" ? "" : style.artist, style.year].filter(Boolean).join(", ");

/**
 * Fill a list with styles. `pick(id)` is called for a click on a style, and `add(id)`, if given,
 * for a click on its + button.
 */
export function fill(list, styles, pick, add) {
  list.replaceChildren(...styles.map((style) => card(style, pick, add)));
}

function card(style, pick, add) {
  const picture = style.preview
    ? element("img", { src: style.preview, alt: "", draggable: false, loading: "lazy", decoding: "async", width: 160, height: 160 })
    : element("span", { className: "no-preview", textContent: style.title[0] ?? "?" });
  const choose = element(
    "button",
    { type: "button", className: "style", attributes: { "aria-pressed": "false", "data-id": style.id } },
    picture,
    element("span", { className: "style-title", textContent: style.title }),
    element("span", { className: "style-by", textContent: byline(style) }),
  );
  choose.addEventListener("click", () => pick(style.id));
  const item = element("li", {}, choose);
  if (add) {
    const label = `Add ${style.title} to the blend`;
    const plus = element("button", {
      type: "button", className: "add", title: label, attributes: { "aria-label": label, "data-add": style.id },
    }, "+");
    plus.addEventListener("click", () => add(style.id));
    item.append(plus);
  }
  return item;
}

/** Mark the chosen styles; only those for which `canAdd(id)` holds may be added to the blend. */
export function mark(list, chosen, canAdd = () => false) {
  for (const button of list.querySelectorAll("[data-id]")) {
    button.setAttribute("aria-pressed", String(chosen.has(button.dataset.id)));
  }
  for (const button of list.querySelectorAll("[data-add]")) button.hidden = !canAdd(button.dataset.add);
}
