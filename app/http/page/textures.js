// The textures tab: POST /generate.

import { isAbort, patiently, post } from "./api.js";
import { describeDevice, describeSeconds, dom, extension, save, showBlob } from "./dom.js";
import * as gallery from "./gallery.js";
import * as notice from "./notice.js";

const LARGEST_SEED = 4294967295;
const SETTLE = 150; // milliseconds

export class Textures {
  #controller = null;
  #timer = null;
  #shown = null;

  /** settings: the part of the settings for textures; ask(error, retry): explains an error. */
  constructor(styles, settings, changed, ask) {
    this.styles = styles;
    this.settings = settings;
    this.changed = changed;
    this.ask = ask;
    if (!styles.some((style) => style.id === settings.style)) settings.style = styles[0].id;
    gallery.fill(dom.textureStyles, styles, (id) => this.#set({ style: id }));
    this.#listen();
  }

  #listen() {
    dom.textureSize.addEventListener("change", () => {
      const [width, height] = dom.textureSize.value.split("x").map(Number);
      dom.textureCustom.hidden = dom.textureSize.value !== "custom";
      if (width) this.#set({ width, height });
    });
    for (const [input, name] of [[dom.textureWidth, "width"], [dom.textureHeight, "height"], [dom.textureSeed, "seed"]]) {
      input.addEventListener("change", () => input.reportValidity() && input.value && this.#set({ [name]: Number(input.value) }));
    }
    dom.textureDice.addEventListener("click", () => this.#set({ seed: Math.floor(Math.random() * (LARGEST_SEED + 1)) }));
    dom.textureVariation.addEventListener("input", () => this.#set({ variation: Number(dom.textureVariation.value) }));
    dom.textureTileable.addEventListener("change", () => this.#set({ isTileable: dom.textureTileable.checked }));
    dom.textureFormat.addEventListener("change", () => (this.settings.format = dom.textureFormat.value));
    dom.textureDownload.addEventListener("click", () => this.#download());
    dom.textureRepeated.addEventListener("click", () => {
      this.#repeat(dom.textureRepeated.getAttribute("aria-pressed") !== "true");
    });
    dom.textureControls.addEventListener("submit", (event) => event.preventDefault());
  }

  #set(values) {
    Object.assign(this.settings, values);
    this.changed();
    this.paint(SETTLE);
  }

  /** Show the settings in the controls. */
  update() {
    const { style, width, height, seed, variation, isTileable, format } = this.settings;
    const size = `${width}x${height}`;
    const known = [...dom.textureSize.options].some((option) => option.value === size);
    if (!known || dom.textureSize.value !== "custom") dom.textureSize.value = known ? size : "custom";
    dom.textureCustom.hidden = dom.textureSize.value !== "custom";
    dom.textureWidth.value = width;
    dom.textureHeight.value = height;
    dom.textureSeed.value = seed;
    dom.textureVariation.value = variation;
    dom.textureVariationValue.value = variation.toFixed(1);
    dom.textureTileable.checked = isTileable;
    dom.textureFormat.value = format;
    dom.textureRepeated.hidden = !isTileable;
    gallery.mark(dom.textureStyles, new Set([style]));
  }

  stop() {
    clearTimeout(this.#timer);
    this.#controller?.abort();
  }

  /** Generate the texture, after a delay in which it may change again. */
  paint(delay = 0) {
    this.stop();
    this.update();
    dom.textureDownload.disabled = true; // what is shown is not what is asked for
    this.#timer = setTimeout(() => this.#paint(), delay);
  }

  #fields(format) {
    const { style, width, height, seed, variation, isTileable } = this.settings;
    return { style, width, height, seed, variation, tileable: isTileable, format };
  }

  async #send(format) {
    this.stop();
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const onWait = (problem, seconds) => notice.showWaiting(problem, seconds, () => this.stop());
    const result = await patiently(() => post("/generate", this.#fields(format), { signal }), { signal, onWait });
    notice.hide();
    return result;
  }

  async #paint() {
    this.#timer = null;
    dom.textureStatus.textContent = "Painting…";
    const { style, isTileable } = this.settings;
    try {
      const result = await this.#send(this.settings.format);
      this.#shown = { ...result, format: this.settings.format };
      dom.texture.alt = `A texture in the style of ${this.#title(style)}`;
      await showBlob(dom.texture, result.blob);
      dom.textureRepeat.style.backgroundImage = `url("${dom.texture.src}")`;
      this.#repeat(isTileable && dom.textureRepeated.getAttribute("aria-pressed") === "true");
      dom.textureDownload.disabled = this.#timer !== null;
      dom.textureStatus.textContent =
        `${this.#title(style)}, painted in ${describeSeconds(result.seconds)} on the ${describeDevice(result.device)}`;
    } catch (error) {
      if (isAbort(error)) return;
      dom.textureStatus.textContent = "";
      this.ask(error, () => this.paint());
    }
  }

  #title(id) {
    return this.styles.find((style) => style.id === id)?.title ?? id;
  }

  #repeat(on) {
    dom.textureRepeated.setAttribute("aria-pressed", String(on));
    dom.textureRepeat.hidden = !on;
    dom.texture.hidden = on;
  }

  async #download() {
    try {
      const { format, style, seed } = this.settings;
      if (this.#shown?.format !== format) this.#shown = { ...(await this.#send(format)), format };
      save(this.#shown.blob, `texture-${style}-${seed}.${extension(this.#shown.blob)}`);
    } catch (error) {
      if (!isAbort(error)) this.ask(error, () => this.#download());
    }
  }
}
