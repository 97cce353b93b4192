// The slider that shows the photo on its left and the painting on its right.

import { dom } from "./dom.js";

export function update() {
  const share = Number(dom.split.value);
  dom.frame.style.setProperty("--split", `${share}%`);
  dom.split.setAttribute(
    "aria-valuetext",
    share === 0 ? "Only the painting" : share === 100 ? "Only the photo" : `Photo on the left ${share} %`,
  );
}

dom.split.addEventListener("input", update);
update();
